# Damage at random: whatever happens to whatever file of a backup, it is never
# called good, and no restore loses a row.
#
# ESE_SEED=n draws the same damages again; ESE_DAMAGES=n draws n per cent of
# them all.
use strict;
use warnings;

use EseChain;
use EseDamage;
use EseTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $percent = $ENV{ESE_DAMAGES} // 100;
my $seed = $ENV{ESE_SEED} // int(time()) % 1_000_000;
# how many there are for each form
my %DRAWN = (flip => 250, cut => 50, file => 50);
# how they are read over SQL makes no difference to the files
my @forms = grep { $_->{name} ne 'by files' } @EseChain::FORMS;
my $work = PostgreSQL::Test::Utils::tempdir();

diag("ESE_SEED=$seed");

my $server = EseChain->new(name => 'main', work => $work);
my $other = EseChain->new(name => 'other', work => $work);

# More WAL than a backup has of its own is replayed as far as it goes, which a
# warning says; then nothing of the backup itself may be lost.
sub has_more_wal
{
	my ($damage, $what) = @_;
	return 0 if "@{ $server->{warnings} }" !~ /behind the end of its logs, \S+, cannot be verified/;
	return $what =~ /^all is as in/ || $server->restore($damage->{place}) eq $server->wanted;
}

# A damage that was made: how was it called good?  undef when it was not.
sub leak_of
{
	my ($damage, $what) = @_;
	my $restoring = rand() < 0.1;
	my $got = $restoring ? $server->restore($damage->{place}) : $server->verify($damage->{place});
	return undef if $got =~ /^(?!00000)[0-9A-Z]{5}\s*$/;
	return undef if has_more_wal($damage, $what);
	return "restore: $got" . ($got eq $server->wanted ? ', none lost' : ', not right') if $restoring;
	return "verification: $got; its restore: " . $server->restore($damage->{place});
}

sub damage_at_random
{
	my ($form, $damage, $kind) = @_;
	my $count = int($DRAWN{$kind} * $percent / 100 + 0.999);
	my @leaks;
	my $began = time();
	for (my $n = 0; $n < $count;)
	{
		my $what = $kind eq 'flip' ? $damage->flip : $kind eq 'cut' ? $damage->cut : $damage->file_damage;
		if (defined($what) && $damage->has_changed)
		{
			my $leak = leak_of($damage, $what);
			push @leaks, "$form->{name}: $what: $leak" if defined($leak);
			$n++;
		}
		$damage->undo;
	}
	note(sprintf('%s: %d of kind %s in %.1f s', $form->{name}, $count, $kind, time() - $began));
	is(scalar(@leaks), 0, "$form->{name}: $count of kind $kind, none is called good") or diag(join("\n", @leaks));
	return;
}

for my $form (@forms)
{
	my $name = $form->{name};
	my $good = "$work/" . $name =~ s/\W/_/gr;
	my @foreign = ("$good.foreign", "$good.former");
	my $began = time();
	$other->take_chain($form, $foreign[0]);
	$server->take_chain($form, $foreign[1]);
	my @states = $server->take_chain($form, $good);
	is($server->verify($_), '00000', "$name: sound") for @states, $foreign[1];
	note(sprintf('%s: nine backups in %.1f s', $name, time() - $began));
	srand($seed++);
	my $damage = EseDamage->new(good => $good, place => "$work/damaged", states => [ @states[0, 1] ],
		foreign => [ map { ($_, "$_.0", "$_.1") } @foreign ]);
	is($server->restore($damage->{place}), $server->wanted, "$name: restores");
	damage_at_random($form, $damage, $_) for qw(flip cut file);
	is($server->verify($damage->{place}), '00000', "$name: sound after all of it");
	system('rm', '-rf', $good, $damage->{place}, @states, @foreign, map { ("$_.0", "$_.1", "$_.2") } @foreign);
}

# ---- without checksums a flip in WAL can only be seen when it is replayed
$server->set(manifest_checksums => 'none');
for my $form (@forms[ 0, 1 ])
{
	my $good = "$work/none_$form->{name}";
	my @states = $server->take_chain($form, $good);
	srand($seed++);
	my $damage = EseDamage->new(good => $good, place => "$work/damaged", states => [ @states[0, 1] ]);
	my (@lost, %results);
	for (1 .. int(6 * $percent / 100 + 0.999))
	{
		my $what = $damage->flip('log');
		my $got = $server->restore($damage->{place});
		$results{$got}++;
		push @lost, "$what: $got" if $got ne $server->wanted && $got !~ /^[A-Z][0-9A-Z]{4}$/;
		$damage->undo;
	}
	is("@lost", '', "$form->{name}, no checksums: no restore of flipped WAL loses a row: " . join(', ', map { "$_ $results{$_}" } sort keys %results));
	system('rm', '-rf', $good, $damage->{place}, @states);
}
$server->set(manifest_checksums => 'crc32c');

nothing_held($server->{node}, 'after all of it');
is(scalar(() = slurp_file($server->{node}->logfile) =~ /was terminated by signal/g), 0, 'the server has never crashed');

done_testing();
