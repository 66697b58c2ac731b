# What is sound is called good, wherever it lies and however it came there:
# the other half of 040.  And the ways to lose a whole part of a backup.
use strict;
use warnings;

use EseChain;
use EseClient;
use EseDamage;
use EseTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $work = PostgreSQL::Test::Utils::tempdir();
my $server = EseChain->new(name => 'main', work => $work);
my $n = 0;

sub place { my ($form) = @_; return "$work/" . ++$n . '_' . $form->{name} =~ s/\W/_/gr; }
sub run { return system_or_bail(@_); }
sub is_good { my ($directory, $name, $depth) = @_; return like($server->verify($directory, $depth), qr/^00000(?: NOTICE:  verification \d+ of instance "main": recovered to \S+ on timeline 1, [^\n]*)?$/, $name); }
sub copy_of { my ($from) = @_; my $to = "$work/copy" . ++$n; run('cp', '-a', $from, $to); return $to; }

# By a verification and by a restore.
sub is_refused
{
	my ($directory, $name) = @_;
	like($server->verify($directory), qr/^(?!00000)[0-9A-Z]{5}$/, "$name: is not called good");
	like($server->restore($directory), qr/^(?!00000)[0-9A-Z]{5}$/, "$name: is not restored");
	return;
}

# The files of a directory that tell what its logs are.
sub documents
{
	my ($directory) = @_;
	return grep { m{(?:^|/)ese_(?:backup$|logs\.\d+$)} } EseDamage::files_of($directory);
}

# What the extension made before it told that: the same without these files.
sub make_old
{
	my ($directory) = @_;
	unlink("$directory/$_") for documents($directory);
	for my $archive (grep { m{/logs} } glob("$directory/*.tar*"))
	{
		my ($suffix) = $archive =~ /\.tar(.*)$/;
		EseDamage::pack_tar($archive, $suffix, grep { unpack('Z100', $_) !~ /ese_logs/ } EseDamage::split_tar(EseDamage::unpack_tar($archive, $suffix)));
	}
	return;
}

my %chain;
for my $form (@EseChain::FORMS)
{
	my ($name, $good) = ($form->{name}, place($form));
	my @states = $server->take_chain($form, $good);
	is_good($_, "$name: sound") for @states;
	$chain{$name} = { good => $good, states => \@states, wanted => $server->wanted };
	ok(scalar(documents($good)) > 0 || $form->{format}, "$name: its logs are told") or diag(join(' ', EseDamage::files_of($good)));

	# where it lies
	my $copy = copy_of($good);
	utime(1, 1, map { "$copy/$_" } EseDamage::files_of($copy));
	is_good($copy, "$name: a copy with other times");
	run('chmod', '-R', 'a-w', $copy);
	is_good($copy, "$name: read-only");
	is($server->restore($copy), $chain{$name}->{wanted}, "$name: restores from there");
	run('chmod', '-R', 'u+w', $copy);
	rename($copy, "$copy with a name's \"blank") or die;
	is_good("$copy with a name's \"blank", "$name: under a strange name");
	symlink("$copy with a name's \"blank", "$work/link") or die;
	is_good("$work/link", "$name: by a symbolic link");
	unlink("$work/link");
	run('rm', '-rf', "$copy with a name's \"blank");

	# a part is lost as a whole
	my ($last, $first) = map { { map { $_ => 1 } EseDamage::files_of($_) } } @states[2, 0];
	my $before = { map { $_ => 1 } EseDamage::files_of($states[1]) };
	my $lost = copy_of($good);
	unlink("$lost/$_") for grep { !$before->{$_} && !/^pg_wal\/ese_logs/ } keys %$last;
	is_refused($lost, "$name: all logs of the last incremental are lost");
	run('rm', '-rf', $lost);
	$lost = copy_of($good);
	unlink("$lost/$_") for grep { $before->{$_} && !$first->{$_} && !/ese_backup$/ } keys %$last;
	is_refused($lost, "$name: an incremental in the middle is lost");
	run('rm', '-rf', $lost);
	if (!$form->{sql})
	{
		$lost = copy_of($good);
		unlink("$lost/$_") for grep { !$before->{$_} } keys %$last;
		is_refused($lost, "$name: the last incremental is lost");
		run('rm', '-rf', $lost);
		$lost = copy_of($good);
		unlink("$lost/$_") for grep { /ese_backup$/ } documents($lost);
		is_refused($lost, "$name: the index is lost");
		run('rm', '-rf', $lost);
	}
	if (!$form->{format})
	{
		$lost = copy_of($good);
		unlink("$lost/$_") for grep { /ese_logs/ } documents($lost);
		if ($form->{sql})
		{
			like($server->verify($lost), qr/^00000 .*cannot be verified/s, "$name: without any manifest of logs it is an old one");
		}
		else
		{
			is_refused($lost, "$name: the manifests of logs are lost");
		}
		run('rm', '-rf', $lost);
	}

	# one that was made before
	my $old = copy_of($good);
	make_old($old);
	like($server->verify($old), qr/^00000 .*cannot be verified/s, "$name: an old one is verified as far as that goes, and it is said");
	is($server->restore($old), $chain{$name}->{wanted}, "$name: and is restored");
	like("@{ $server->{warnings} }", qr/cannot be verified/, "$name: which warns as well");
	run('rm', '-rf', $old);
}

# ---- to the depth of a restore, in one form after the other
is_good($chain{$_}->{good}, "$_: to the depth of a restore", 'restore') for 'plain', 'zstd', 'by streams';

# ---- backups of several chains do not mix
for my $pair ([ 'tar', 'plain' ], [ 'by files', 'by streams' ])
{
	my $mixed = copy_of($chain{ $pair->[0] }->{good});
	run('sh', '-c', "cp -an '$chain{ $pair->[1] }->{good}'/. '$mixed'");
	is_refused($mixed, "$pair->[0] and $pair->[1] in one directory");
	run('rm', '-rf', $mixed);
}

# ---- other checksums
for my $kind (qw(sha256 none))
{
	$server->set(manifest_checksums => $kind);
	for my $form (@EseChain::FORMS[0, 3, 4])
	{
		my $good = place($form);
		$server->take_chain($form, $good);
		is_good($good, "$form->{name}, checksums $kind: sound");
		is($server->restore($good), $server->wanted, "$form->{name}, checksums $kind: restores");
	}
}
$server->set(manifest_checksums => 'crc32c');

# ---- a standby, and a change of timeline in a chain
my $primary = $server->{node};
my $node = PostgreSQL::Test::Cluster->new('standby');
run('pg_basebackup', '-D', $node->data_dir, '-h', $primary->host, '-p', $primary->port, '--checkpoint=fast', '--no-sync',
	"--tablespace-mapping=$work/space_main=$work/space_standby");
$node->append_conf('postgresql.conf', 'port = ' . $node->port . "\nunix_socket_directories = '" . $node->host . "'\n");
$node->enable_streaming($primary);
$node->start;
my $standby = EseChain->on($node, 'standby');
my $wait = sub {
	$primary->wait_for_catchup($node, 'replay', $primary->lsn('insert'));
	$node->safe_psql('postgres', 'CHECKPOINT');
};
@$standby{qw(source rows)} = ($primary, $server->{rows});
for my $form (@EseChain::FORMS)
{
	my $good = place($form);
	for my $link (0 .. 2)
	{
		$standby->add_rows;
		$primary->safe_psql('postgres', 'SELECT pg_switch_wal(); CHECKPOINT');
		$wait->();
		$standby->take($form, $good, $link > 0);
		is($standby->verify($good), '00000', "$form->{name}: sound, from a standby, link $link");
	}
	is($standby->restore($good), $standby->wanted, "$form->{name}: restores what the standby had");
	$chain{$form->{name}}->{standby} = $good;
}
$node->promote;
$standby->{source} = $node;
$standby->{dbh}->disconnect;
wait_for($node, "SELECT state = 'running' FROM ese_instance WHERE name = 'standby'");
$standby->connect;
for my $form (@EseChain::FORMS[ 0, 3, 5 ])
{
	my $good = place($form);
	$standby->take_chain($form, $good);
	is($standby->verify($good), '00000', "$form->{name}: sound, on another timeline");
	is($standby->restore($good), $standby->wanted, "$form->{name}: restores what is on that timeline");
}
is(scalar(() = slurp_file($_->logfile) =~ /was terminated by signal/g), 0, 'no server has crashed') for $primary, $node;

done_testing();
