# An incremental backup that is interrupted while it is published: the complete
# links verify, and the next one puts everything right.  And what is refused as
# the end of a chain.
use strict;
use warnings;

use EseClient;
use EseTest;
use LogManifest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => "autovacuum = off\nwal_keep_size = 0\n",
	initdb => [ '--data-checksums', '--wal-segsize=1' ]);
$node->safe_psql('postgres', 'CREATE TABLE marker (n int)');
my $id = start_instance($node, 'main', circular_log => 'off');
my $dbh = EseClient::connect_to(dsn($node));
my $work = PostgreSQL::Test::Utils::tempdir();
my $n = 0;

sub backup { my ($path, $grbit, $wait) = @_; return $dbh->do("SELECT ese_backup_instance($id, '$path', $grbit, " . ($wait // 'true') . ')'); }
sub load
{
	$n++;
	$node->safe_psql('postgres', "INSERT INTO marker VALUES ($n); SELECT pg_switch_wal(); INSERT INTO marker VALUES ($n)");
	return;
}
sub index_of { my ($place) = @_; return read_document(-e "$place/ese_backup" ? "$place/ese_backup" : "$place/pg_wal/ese_backup"); }
sub links { my ($place) = @_; return join(',', map { $_->{'Backup-Id'} } @{ index_of($place)->{Links} }); }
sub newest { return last_row($node, 'backup_id'); }

# Kill the server while a backup to a place waits at a point.
sub kill_at
{
	my ($place, $point) = @_;
	load();
	set_test_points($node, "$point=wait");
	my $offset = -s $node->logfile;
	backup($place, 1, 'false');
	$node->wait_for_log(qr/waiting at test point "$point"/, $offset);
	my $worker = $node->safe_psql('postgres', "SELECT worker_pid FROM ese_instance WHERE instance_id = $id");
	$dbh->disconnect;
	kill_server($node, $worker);
	# the server does not start with it again
	$node->append_conf('postgresql.auto.conf', "ese.test_points = ''");
	$node->start;
	wait_for($node, "SELECT state = 'running' FROM ese_instance WHERE instance_id = $id");
	$dbh = EseClient::connect_to(dsn($node));
	is(last_row($node, 'status'), 'failed', "$point: it is no backup");
	return;
}

for my $format (qw(plain tar))
{
	my $place = "$work/$format";
	my @good;
	$node->safe_psql('postgres', "SELECT ese_set_system_parameter($id, 'backup_format', '$format')");
	load();
	backup($place, 0);
	push @good, newest();
	load();
	backup($place, 1);
	push @good, newest();

	# announced, half done, and done but for the history; two in a row as well
	for my $points ([ 'native.adding' ], [ 'native.publish', 'native.publish' ], [ 'native.published' ])
	{
		my $name = "$format, @$points";
		for my $point (@$points)
		{
			kill_at($place, $point);
			my $index = index_of($place);
			my $adding = $index->{Adding} ? $index->{Adding}{'Backup-Id'} : 'none';
			is($adding, $point eq 'native.publish' ? newest() : 'none', "$name: the index knows what was being added");
			is(links($place), join(',', @good, $point eq 'native.published' ? newest() : ()), "$name: and the links that there are");
			is(EseClient::value($dbh, "SELECT ese_verify_backup($id, '$place')"), 0, "$name: which verify");
		}
		load();
		backup($place, 1);
		push @good, newest();
		is(links($place), join(',', @good), "$name: the next one takes its place");
		is(index_of($place)->{Adding}, undef, "$name: nothing is being added");
		if ($format eq 'plain')
		{
			is(join(',', sort { $a <=> $b } map { s/.*\.//r } glob("$place/pg_wal/ese_logs.*")), join(',', @good), "$name: no other manifest is left");
		}
		else
		{
			is(join(',', sort { $a <=> $b } map { /logs\.(\d+)\.tar$/ ? $1 : () } glob("$place/logs.*")), join(',', @good[1 .. $#good]), "$name: no other archive is left");
		}
		is(EseClient::value($dbh, "SELECT ese_verify_backup($id, '$place')"), 0, "$name: it verifies");
	}
	$dbh->do("SELECT ese_restore_instance($id, '$place', '$work/restored_$format')");
	my $restored = PostgreSQL::Test::Cluster->new("restored_$format");
	PostgreSQL::Test::Utils::system_or_bail('mv', "$work/restored_$format", $restored->data_dir);
	$restored->append_conf('postgresql.conf', 'port = ' . $restored->port . "\nunix_socket_directories = '" . $restored->host . "'");
	$restored->start;
	is($restored->safe_psql('postgres', 'SELECT count(DISTINCT n) FROM marker'), $n, "$format: every row comes back");
	$restored->stop;
}

# ---- what an incremental backup does not follow
my $place = "$work/refused";
$node->safe_psql('postgres', "SELECT ese_set_system_parameter($id, 'backup_format', 'plain')");
backup($place, 0);
load();
PostgreSQL::Test::Utils::system_or_bail('cp', "$place/pg_wal/ese_backup", "$work/first");
backup($place, 1);
my $index = "$place/pg_wal/ese_backup";
PostgreSQL::Test::Utils::system_or_bail('mv', $index, "$work/second");

sub refused
{
	my ($state, $why, $name) = @_;
	like(fails_with($dbh, $state, "SELECT ese_backup_instance($id, '$place', 1)", $name), $why, 'says why');
	return;
}
refused('J0569', qr/backup index in .* is missing/, 'a directory without its index');
PostgreSQL::Test::Utils::system_or_bail('cp', "$work/first", $index);
refused('J0556', qr/newest backup in .* is not backup \d+, which this one follows/, 'one that lacks the newest link');
my $bytes = slurp_file("$work/second");
my $write = sub {
	open(my $out, '>:raw', $index) or die;
	print $out $_[0];
	close($out);
};
$write->($bytes =~ s/main/mine/r);
refused('J1018', qr/its own checksum is wrong/, 'a damaged one');
my $newer = $bytes =~ s/Index-Version": 1/Index-Version": 2/r;
$newer =~ s/\A(.*\n)"Manifest-Checksum": "[0-9a-f]{64}"/$1 . '"Manifest-Checksum": "' . Digest::SHA::sha256_hex($1) . '"'/se;
$write->($newer);
refused('J0514', qr/version 2 of the backup index is not known: made by a newer ese/, 'one of a newer version');
$write->($bytes);
load();
backup($place, 1);
is(EseClient::value($dbh, "SELECT ese_verify_backup($id, '$place')"), 0, 'as it was, it goes on');

# ---- a chain that was begun before there were log manifests goes on as it was
backup("$work/old", 0);
load();
my $history = $node->data_dir . "/ese/history.$id";
$node->stop;
unlink("$work/old/pg_wal/ese_backup", glob("$work/old/pg_wal/ese_logs.*"));
write_version_2($history);
$node->start;
$dbh = EseClient::connect_to(dsn($node));
wait_for($node, "SELECT state = 'running' FROM ese_instance WHERE instance_id = $id");
is($node->safe_psql('postgres', 'SELECT chain_state FROM ese_instance'), 'ok', 'a history of the version before is read');
my $offset = -s $node->logfile;
backup("$work/old", 1);
is(last_row($node, 'status, kind'), 'completed|incremental', 'a chain without log manifests goes on');
ok($node->log_contains(qr/has no log manifest: backup \d+, which it follows, has none/, $offset), 'with a warning');
is(join(',', glob("$work/old/pg_wal/ese_*")), '', 'and without them');
is(EseClient::value($dbh, "SELECT ese_verify_backup($id, '$work/old')"), 0, 'it verifies');

# Write a history file as the version before did: without the last two fields.
sub write_version_2
{
	my ($path) = @_;
	my $old = slurp_file($path);
	my ($magic, $version, $length, $crc, $body) = unpack('VVQ<Q<a*', $old);
	# numbers, and strings by 's', in their order
	my @fields = split(//, 'nnssnnnnssnsssnnnsnnnnnnnnnnsn' . 'ns');
	my $at = 8;
	my $rows = unpack('Q<', $body);
	my $new = pack('Q<', $rows);
	for my $row (1 .. $rows)
	{
		for my $i (0 .. $#fields)
		{
			my $size = $fields[$i] eq 's' ? 8 + unpack('Q<', substr($body, $at, 8)) : 8;
			$new .= substr($body, $at, $size) if $i < @fields - 2;
			$at += $size;
		}
	}
	die 'the fields of a row are others' if $at != length($body);
	open(my $out, '>:raw', $path) or die;
	print $out pack('VVQ<a4xxxx', $magic, 2, length($new), pack('H*', LogManifest::crc32c_hex($new))) . $new;
	close($out);
	return;
}

done_testing();
