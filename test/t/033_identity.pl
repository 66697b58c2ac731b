# Whose data directory it is: a restart and a move change nothing, a copy is
# recognised.  Slots of instances that are not running are guarded.  Timeouts
# go by a clock that does not jump.
use strict;
use warnings;

use EseClient;
use EseTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $work = PostgreSQL::Test::Utils::tempdir();
my ($clock, $machine) = ("$work/clock", "$work/machine");
@ENV{qw(ESE_TEST_CLOCK ESE_TEST_MACHINE)} = ($clock, $machine);
my $library = build_preload('disk');
sub write_file { my ($path, $bytes) = @_; unlink($path); append_to_file($path, $bytes); return; }
sub start { my ($server) = @_; local $ENV{LD_PRELOAD} = $library; $server->start; return; }
write_file($machine, "0123456789abcdef0123456789abcdef\n");

my $node = do { local $ENV{LD_PRELOAD} = $library;
	new_node('main', conf => "autovacuum = off\nmax_wal_size = 64MB\nmin_wal_size = 32MB\n", initdb => [ '--wal-segsize=1' ]) };
my $data = $node->data_dir;
my $id = start_instance($node, 'main', circular_log => 'off');
my $plain = start_instance($node, 'plain');
$node->safe_psql('postgres', "SELECT ese_backup_instance($id, '$work/full')");
$node->safe_psql('postgres', 'CREATE TABLE filler (a text)');

sub state_of { my ($server) = @_; return $server->safe_psql('postgres', "SELECT state, chain_state, slot_name FROM ese_instance WHERE instance_id = $id"); }
sub check { my ($server, $name) = @_; return $server->safe_psql('postgres', qq{SELECT ok, detail FROM ese_check_instance($id) WHERE "check" = '$name'}); }
sub is_at_home
{
	my ($server, $name) = @_;
	wait_for($server, "SELECT bool_and(state = 'running') FROM ese_instance");
	is(state_of($server), 'running|ok|ese_main', "$name: the instance runs, and its chain goes on");
	like(check($server, 'data directory'), qr/^t\|/, 'ese_check_instance has nothing to say');
	unlike(slurp_file($server->logfile), qr/another data directory/, 'nor the log');
	return;
}

# ---- what a copy is not
$node->stop;
start($node);
is_at_home($node, 'a restart');
$node->stop;
rename($data, "$data.moved") or die;
symlink("$data.moved", $data) or die;
start($node);
is_at_home($node, 'a move within the file system');
$node->stop;
unlink($data);
rename("$data.moved", $data) or die;
unlink($machine);
start($node);
is_at_home($node, 'a machine that does not say who it is');
$node->stop;
write_file($machine, "0123456789abcdef0123456789abcdef\n");
start($node);
is_at_home($node, 'and says it again');
is($node->safe_psql('postgres', "SELECT ese_backup_instance($id, '$work/full', 1)"), 0, 'an incremental follows');

# ---- a copy, and the original beside it
$node->stop;
my $copy = PostgreSQL::Test::Cluster->new('copy');
system_or_bail('cp', '-a', $data, $copy->data_dir);
$copy->append_conf('postgresql.conf', 'port = ' . $copy->port);
$copy->append_conf('postgresql.conf', "unix_socket_directories = '" . $copy->host . "'");
start($copy);
like(slurp_file($copy->logfile), qr/WARNING:  backup instances were defined in another data directory.*DETAIL:  [^\n]*the files were copied/s, 'a copy: the log warns');
wait_for($copy, "SELECT count(*) = 0 FROM pg_replication_slots");
is(state_of($copy), 'stopped|broken|', 'its instances are stopped, its chain is broken, and keeps no WAL');
is($copy->safe_psql('postgres', "SELECT state FROM ese_instance WHERE instance_id = $plain"), 'stopped', 'all of them');
like(check($copy, 'data directory'), qr/^f\|It was found to be a copy/, 'ese_check_instance says so');
like(check($copy, 'chain'), qr/^f\|.*copy/, 'of the chain as well');
like(slurp_file($copy->logfile), qr/WARNING:  instance "main" gives up its replication slot: it is that of the data directory of which this one is a copy/, 'the log tells of the slot');
is($copy->safe_psql('postgres', "SELECT ese_init($id)"), 0, 'it can be started');
my $dbh = EseClient::connect_to(dsn($copy));
like(fails_with($dbh, 'J0569', "SELECT ese_backup_instance($id, '$work/full', 1)", 'but no incremental follows the original'),
	qr/of which this one is a copy/, 'which is said');
$copy->stop;
start($copy);
wait_for($copy, "SELECT state = 'running' FROM ese_instance WHERE instance_id = $id");
is(state_of($copy), 'running|broken|', 'after a restart it runs here, and the chain is still broken');
is($copy->safe_psql('postgres', "SELECT ese_backup_instance($id, '$work/copy')"), 0, 'a full backup begins a chain of its own');
is(state_of($copy), 'running|ok|ese_main', 'which goes on');
wait_for($copy, "SELECT ok FROM ese_check_instance($id) WHERE \"check\" = 'data directory' AND detail LIKE '%at home%'");
pass('and all is well');
$copy->stop;
start($node);
is_at_home($node, 'the original');
is($node->safe_psql('postgres', "SELECT ese_backup_instance($id, '$work/full', 1)"), 0, 'an incremental follows');

# ---- a volume that is used on another machine
$node->stop;
my $saved = "$work/saved";
system_or_bail('cp', '-a', "$data/ese/state", $saved);
write_file($machine, "fedcba9876543210fedcba9876543210\n");
my $offset = -s $node->logfile;
start($node);
$node->wait_for_log(qr/WARNING:  backup instances were defined in another data directory.*this is another machine/s, $offset);
is($node->safe_psql('postgres', "SELECT count(*) FROM ese_instance WHERE state <> 'stopped'"), 0, 'on another machine it is a copy');
$node->stop;
write_file($machine, "0123456789abcdef0123456789abcdef\n");

# ---- without the file of its identity, too; and without ese/state no id comes
# again
start($node);
$node->safe_psql('postgres', "SELECT ese_init($id)");
$node->stop;
unlink("$data/ese/identity");
$offset = -s $node->logfile;
start($node);
$node->wait_for_log(qr/there is no file "ese\/identity"/, $offset);
my $last = $node->safe_psql('postgres', 'SELECT max(backup_id) FROM ese_backup_history');
$node->stop;
unlink("$data/ese/state");
start($node);
my $new = $node->safe_psql('postgres', "SELECT ese_create_instance('main')");
ok($new > $id, 'a lost ese/state: no id of an instance that has a history comes again');
$node->safe_psql('postgres', "SELECT ese_init($new)");
$node->safe_psql('postgres', "SELECT ese_begin_external_backup_instance($new)");
ok($node->safe_psql('postgres', "SELECT ese_backup_id($new)") > $last, 'nor one of a backup');
$node->safe_psql('postgres', "SELECT ese_end_external_backup_instance($new, 2)");
is($node->safe_psql('postgres', "SELECT count(*) FROM ese_backup_history"), 1, 'and the new one has its own history');

# ---- guards of an instance that is not running
sub fill { $node->safe_psql('postgres', 'INSERT INTO filler SELECT repeat(md5(i::text), 30) FROM generate_series(1, 8000) i; SELECT pg_switch_wal(); CHECKPOINT') for 1 .. 2; return; }
$node->safe_psql('postgres', "SELECT ese_term($new)");
$node->safe_psql('postgres', "SELECT ese_set_system_parameter($new, $_)") for "'circular_log', 'off'", "'backup_max_wal_retained', '8MB'";
$node->safe_psql('postgres', "SELECT ese_init($new)");
$id = $new;
$node->safe_psql('postgres', "SELECT ese_backup_instance($id, '$work/guarded')");
is(state_of($node), 'running|ok|ese_main', 'a chain');
$node->safe_psql('postgres', "SELECT ese_term($id)");
# a slot of the same kind of name, of an instance that has made none
my $innocent = $node->safe_psql('postgres', "SELECT ese_create_instance('innocent')");
$node->safe_psql('postgres', "SELECT ese_set_system_parameter($innocent, $_)") for "'circular_log', 'off'", "'backup_max_wal_retained', '8MB'";
$node->safe_psql('postgres', "SELECT pg_create_physical_replication_slot('ese_innocent', true)");
$offset = -s $node->logfile;
fill();
$node->wait_for_log(qr/WARNING:  instance "main" gives up its replication slot: \d+ bytes of WAL are retained/, $offset);
is(state_of($node), 'stopped|broken|', 'the chain of a stopped instance is given up');
like(check($node, 'chain'), qr/^f\|.*no incremental can follow any more: \d+ bytes/, 'and ese_check_instance says so');
is($node->safe_psql('postgres', 'SELECT slot_name FROM pg_replication_slots'), 'ese_innocent', "somebody else's slot stays");
is($node->safe_psql('postgres', "SELECT ese_drop_instance($innocent)"), 0, 'an instance of that name is dropped');
is($node->safe_psql('postgres', 'SELECT slot_name FROM pg_replication_slots'), 'ese_innocent', 'and the slot stays');
$node->safe_psql('postgres', "SELECT pg_drop_replication_slot('ese_innocent')");

# ... also after the launcher was killed
$node->safe_psql('postgres', "SELECT ese_init($id)");
$node->safe_psql('postgres', "SELECT ese_backup_instance($id, '$work/guarded2')");
$node->safe_psql('postgres', "SELECT ese_term($id)");
kill('KILL', $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'ese launcher'"));
$node->wait_for_log(qr/all server processes terminated/, $offset);
$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'ese launcher'");
is($node->safe_psql('postgres', "SELECT state FROM ese_instance WHERE instance_id = $id"), 'stopped', 'after a crash what was stopped is stopped');
fill();
wait_for($node, 'SELECT count(*) = 0 FROM pg_replication_slots');
pass('and guarded');

# ---- a drop that is refused leaves the slot
$node->safe_psql('postgres', "SELECT ese_init($id)");
$node->safe_psql('postgres', "SELECT ese_backup_instance($id, '$work/guarded3')");
$dbh = EseClient::connect_to(dsn($node));
fails_with($dbh, 'J1030', "SELECT ese_drop_instance($id)", 'a running instance is not dropped');
is(state_of($node), 'running|ok|ese_main', 'and its chain goes on');

# ---- the clock jumps
EseClient::value($dbh, "SELECT ese_set_system_parameter($id, 'backup_idle_timeout', '2s')");
EseClient::value($dbh, "SELECT ese_begin_external_backup_instance($id)");
write_file($clock, '3600');
my $handle = EseClient::value($dbh, "SELECT handle FROM ese_open_file_instance($id, 'PG_VERSION')");
my $late = $node->safe_psql('postgres', "SELECT last_call_at > now() - interval '1 min', started_at < now() - interval '59 min' FROM ese_backup_progress");
is($late, 't|t', 'an hour passes at once');
# a tick of the guards has passed when the worker has seen a setting
set_test_points($node, 'nothing=wait');
set_test_points($node, '');
is(length(EseClient::value($dbh, "SELECT ese_read_file_instance($id, $handle)")), 3, 'which ends no backup');
write_file($clock, '-3600');
wait_for($node, 'SELECT count(*) = 0 FROM ese_backup_progress');
is(last_row($node, 'stop_cause'), 'idle timeout', 'an hour back keeps none alive');
$node->stop;

done_testing();
