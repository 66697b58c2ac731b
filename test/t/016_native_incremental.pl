# Incremental backups that the server writes: into the directory of the full
# one, which restores at every moment.
use strict;
use warnings;

use EseClient;
use EseTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = new_node('main', conf => "autovacuum = off\nmax_wal_size = 64MB\nwal_keep_size = 0\n");
$node->command_ok([ 'pgbench', '-i', '-s', '2', '-q', 'postgres' ], 'pgbench data');
$node->safe_psql('postgres', 'CREATE TABLE marker (n int)');
my $id = start_instance($node, 'main', circular_log => 'off');
my $dbh = EseClient::connect_to(dsn($node));
my $work = PostgreSQL::Test::Utils::tempdir();
my $restores = 0;

sub set_parameter
{
	my ($name, $value) = @_;
	$node->safe_psql('postgres', "SELECT ese_set_system_parameter($id, '$name', '$value')");
	return;
}

sub backup { my ($path, $grbit) = @_; return $dbh->do("SELECT ese_backup_instance($id, '$path', $grbit)"); }
sub load
{
	my ($n) = @_;
	$node->safe_psql('postgres', "INSERT INTO marker VALUES ($n)");
	$node->command_ok([ 'pgbench', '-n', '-c', '4', '-t', '200', 'postgres' ], "load $n");
	$node->safe_psql('postgres', 'SELECT pg_switch_wal(); CHECKPOINT');
	return;
}

# What a copy of a directory restores to: the newest marker.
sub restores_to
{
	my ($directory, $wanted, $name) = @_;
	my $restored = restore_and_check($node, 'restored' . ++$restores, $directory);
	is($restored->safe_psql('postgres', 'SELECT coalesce(max(n), 0), count(*) FROM marker'), $wanted, $name);
	is_good_restore($restored, $name);
	$restored->stop;
	return;
}

# ---- plain: every state restores to its own point
fails_with($dbh, 'J0560', "SELECT ese_backup_instance($id, '$work/plain', 1)", 'without a full backup');
ok(!-e "$work/plain", 'nothing is made');
backup("$work/plain", 0);
for my $n (1 .. 3)
{
	load($n);
	backup("$work/plain", 1);
	is(last_row($node, 'kind, status, location, files > 0, wal_bytes > 0'), "incremental|completed|$work/plain|t|t", "incremental $n");
	is($node->safe_psql('postgres', 'SELECT chain_state, chain_location FROM ese_instance'), "ok|$work/plain", 'the chain goes on');
	PostgreSQL::Test::Utils::system_or_bail('cp', '-a', "$work/plain", "$work/plain$n");
}
restores_to("$work/plain$_", "$_|$_", "plain, state $_") for 1 .. 3;
nothing_held($node, 'plain');

# ---- what is refused, before anything is written
fails_with($dbh, 'J1023', "SELECT ese_backup_instance($id, '$work/other', 1)", 'another directory');
like($dbh->errstr, qr/The full backup of the chain is in "\Q$work\E\/plain"/, 'is told which one it is');
ok(!-e "$work/other", 'and not made');
rename("$work/plain/global/pg_control", "$work/pg_control") or die;
fails_with($dbh, 'J1023', "SELECT ese_backup_instance($id, '$work/plain', 1)", 'no backup any more');
my $foreign = PostgreSQL::Test::Cluster->new('foreign');
$foreign->init;
PostgreSQL::Test::Utils::system_or_bail('cp', $foreign->data_dir . '/global/pg_control', "$work/plain/global/pg_control");
fails_with($dbh, 'J0555', "SELECT ese_backup_instance($id, '$work/plain', 1)", 'a backup of another cluster');
rename("$work/pg_control", "$work/plain/global/pg_control") or die;
is(scalar(() = glob("$work/plain/*.ese_new $work/plain/pg_wal/*.ese_new")), 0, 'nothing was written');

# ---- stopped, failed and killed: the directory restores to what it was
my $n = 3;
for my $point (qw(native.logs native.sync native.publish))
{
	$n++;
	load($n);
	set_test_points($node, "$point=error");
	isnt(error_of($dbh, "SELECT ese_backup_instance($id, '$work/plain', 1)"), '00000', "$point: an error");
	set_test_points($node, '');
	wait_for($node, "SELECT state = 'running' FROM ese_instance WHERE instance_id = $id");
	is(scalar(() = glob("$work/plain/*.ese_new $work/plain/pg_wal/*.ese_new $work/plain/pg_wal/archive_status/*.ese_new")), 0, "$point: nothing half done is left");
	command_ok([ 'pg_verifybackup', '-q', "$work/plain" ], "$point: the backup is one");
}
for my $round (1 .. 10)
{
	$dbh->do("SELECT ese_backup_instance($id, '$work/plain', 1, false)");
	usleep(int(rand(30000)));
	$dbh->do("SELECT ese_stop_backup_instance($id)");
	eval { $dbh->do("CALL ese_wait_backup($id)") };
}
is(scalar(() = glob("$work/plain/*.ese_new $work/plain/pg_wal/*.ese_new")), 0, '10 stops: nothing half done is left');
set_test_points($node, 'native.publish=wait');
$dbh->do('INSERT INTO marker VALUES (7)');
my $offset = -s $node->logfile;
$dbh->do("SELECT ese_backup_instance($id, '$work/plain', 1, false)");
$node->wait_for_log(qr/waiting at test point "native.publish"/, $offset);
my $worker = $node->safe_psql('postgres', "SELECT worker_pid FROM ese_instance WHERE instance_id = $id");
$dbh->disconnect;
kill_server($node, $worker);
PostgreSQL::Test::Utils::system_or_bail('cp', '-a', "$work/plain", "$work/killed");
$node->start;
$dbh = EseClient::connect_to(dsn($node));
set_test_points($node, '');
wait_for($node, "SELECT state = 'running' FROM ese_instance WHERE instance_id = $id");
system('find', "$work/killed", '-name', '*.ese_new', '-delete');
my $killed = restore_and_check($node, 'killed', "$work/killed");
is_good_restore($killed, 'killed while it was published: what is there restores');
$killed->stop;
is($node->safe_psql('postgres', 'SELECT chain_state FROM ese_instance'), 'ok', 'the chain is whole');
backup("$work/plain", 1);
restores_to("$work/plain", '7|7', 'the next incremental brings it all');
nothing_held($node, 'stops');

# ---- tar, compressed
set_parameter('backup_format', 'tar');
set_parameter('backup_compression', 'zstd:1');
backup("$work/tar", 0);
for my $more (8, 9)
{
	load($more);
	backup("$work/tar", 1);
}
is(scalar(() = glob("$work/tar/logs*.tar.zst")), 3, 'an archive of logs for each backup');
mkdir("$work/extracted", 0700);
system_or_bail('sh', '-c', "for a in $work/tar/*.tar*; do tar -C $work/extracted --zstd -xf \$a || exit 1; done");
restores_to("$work/extracted", '9|9', 'tar, zstd: extracted with tar alone');

# ---- a chain whose full backup was read over SQL has no directory
EseClient::backup(dsn($node), $id, "$work/sql", truncate => 1, sessions => 2);
like(fails_with($dbh, 'J1023', "SELECT ese_backup_instance($id, '$work/sql', 1)", 'a full backup read over SQL'), qr/was read over SQL/, 'has no directory');
is(scalar(() = slurp_file($node->logfile) =~ /was terminated by signal 11/g), 0, 'no crash');

done_testing();
