# A disk that takes its time: whoever waits for nothing but memory does not
# wait for it, and who does wait can be cancelled.
use strict;
use warnings;

use EseClient;
use EseTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $disk = PostgreSQL::Test::Utils::tempdir() . '/disk';
$ENV{ESE_TEST_DISK} = $disk;
my $library = build_preload('disk');
my $node = do { local $ENV{LD_PRELOAD} = $library; new_node('main', conf => "autovacuum = off\n") };
my $data = $node->data_dir;
append_to_file("$data/noise", 'x' x (4 * 1024 * 1024));
my $id = start_instance($node, 'main');
my $other = start_instance($node, 'other');

# What waits for the disk, waits until it is let go; a test that has to be
# ended by its timeout has failed.
sub session
{
	my $dbh = EseClient::connect_to(dsn($node));
	$dbh->do("SET statement_timeout = '20s'");
	$dbh->do("SET client_min_messages = error");
	return $dbh;
}
my $dbh = session();
sub value { return EseClient::value($dbh, @_); }

# Have a statement stand still in the rename of such a file, or behind it.
sub hold { my ($file) = @_; append_to_file($disk, "rename 0 $file"); return; }
sub is_held { usleep(1000) until -e "$disk.waiting"; return; }
sub let_go { unlink($disk); usleep(20000); unlink("$disk.waiting"); return; }
sub begin_statement
{
	my ($sql) = @_;
	my $session = session();
	$session->do($sql, { pg_async => 1 });
	return $session;
}
sub waits_for_lock
{
	my ($session) = @_;
	wait_for($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE pid = $session->{pg_pid} AND wait_event_type = 'Extension'");
	return;
}

# ---- another session saves a parameter
value("SELECT ese_begin_external_backup_instance($id)");
my $handle = value("SELECT handle FROM ese_open_file_instance($id, 'noise')");
is(length(value("SELECT ese_read_file_instance($id, $handle)")), 262144, 'a file is being read');
hold('state');
my $saver = begin_statement("SELECT ese_set_system_parameter($id, 'history_limit', '77')");
is_held();
is(length(value("SELECT ese_read_file_instance($id, $handle)")), 262144, 'beside a parameter that is being saved: a read');
is(value("SELECT ese_get_system_parameter($id, 'history_limit')"), '1000', 'what is not on disk is not so');
ok(defined(value("SELECT count(*) FROM $_")), "the view $_")
  for qw(ese_instance ese_system_parameter ese_backup_progress ese_backup_handle ese_backup_history ese_checksum_failure);
ok(value("SELECT count(*) FROM ese_check_instance($id)") > 0, 'ese_check_instance');
is(value("SELECT ese_close_file_instance($id, $handle)"), 0, 'Close');
is(value("SELECT ese_instance_id('main')"), $id, 'looking up a name');
is(value("SELECT ese_stop_backup_instance($id)"), 0, 'Stop');
is(value("SELECT ese_end_external_backup_instance($id)"), -801, 'End');
is(last_row($node, 'status'), 'aborted by server', 'which is recorded');
ok(-e "$disk.waiting", 'all that while the other one waits');

# ---- who waits behind it can be cancelled
my $waiter = session();
$waiter->do("SET statement_timeout = '300ms'");
fails_with($waiter, '57014', "SELECT ese_set_system_parameter($other, 'history_limit', '78')", 'a second one: statement_timeout');
fails_with($waiter, '57014', "SELECT ese_create_instance('third')", 'create, too');
my $victim = begin_statement("SELECT ese_drop_instance(ese_create_instance('fourth'))");
waits_for_lock($victim);
value("SELECT pg_terminate_backend($victim->{pg_pid})");
wait_for($node, "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $victim->{pg_pid}");
pass('pg_terminate_backend');
my $third = begin_statement("SELECT ese_begin_external_backup_instance($other)");
waits_for_lock($third);
value("SELECT pg_cancel_backend($third->{pg_pid})");
ok(!eval { $third->pg_result; 1 }, 'a Begin');
is($third->state, '57014', 'pg_cancel_backend');
my $worker = value("SELECT worker_pid FROM ese_instance WHERE instance_id = $other");
kill('TERM', $worker);
wait_for($node, "SELECT worker_pid <> $worker AND state = 'running' FROM ese_instance WHERE instance_id = $other");
pass('a worker that waits ends');
let_go();
$saver->pg_result;
is(value("SELECT ese_get_system_parameter($id, 'history_limit')"), '77', 'then it is so');
is(value("SELECT ese_get_system_parameter($other, 'history_limit')"), '1000', 'and what was cancelled is not');
is(value('SELECT count(*) FROM ese_instance'), 2, 'nor created');

# ---- ese_init that is ended while it waits leaves the instance stopped
value("SELECT ese_term($other)");
hold('state');
$saver = begin_statement("SELECT ese_set_system_parameter($id, 'history_limit', '79')");
is_held();
$victim = begin_statement("SELECT ese_init($other)");
waits_for_lock($victim);
is(value("SELECT state FROM ese_instance WHERE instance_id = $other"), 'initializing', 'ese_init waits');
value("SELECT pg_terminate_backend($victim->{pg_pid})");
wait_for($node, "SELECT state = 'stopped' FROM ese_instance WHERE instance_id = $other");
let_go();
$saver->pg_result;
is(value("SELECT ese_init($other)"), 0, 'and can be started');

# ---- a backup ends, and its row takes its time: a stop comes too late, but at
# once
value("SELECT ese_begin_external_backup_instance($id)");
hold("history.$id");
my $ender = begin_statement("SELECT ese_end_external_backup_instance($id, 2)");
is_held();
is(value("SELECT ese_stop_backup_instance($id)"), 0, 'a stop does not wait for the row of an end');
ok(value("SELECT count(*) FROM ese_backup_history") > 0, 'nor does a view');
is(value("SELECT ese_begin_external_backup_instance($other)"), 0, 'nor another instance');
let_go();
$ender->pg_result;
is(last_row($node, 'status'), 'running', 'the other one is open');
is(value("SELECT ese_end_external_backup_instance($other, 2)"), 0, 'and ends');
is(value("SELECT status FROM ese_backup_history WHERE instance_id = $id ORDER BY backup_id DESC LIMIT 1"), 'aborted by caller', 'the first has ended as its caller wanted');

# ---- if_stopped says that it runs
set_test_points($node, 'term.start=wait');
my $offset = -s $node->logfile;
my $term = begin_statement("SELECT ese_term($other)");
$node->wait_for_log(qr/waiting at test point "term.start"/, $offset);
my $starter = begin_statement("SELECT ese_init($other, true)");
waits_for_lock($starter);
$node->safe_psql('postgres', "ALTER SYSTEM SET ese.test_points = ''");
$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
$term->pg_result;
$starter->pg_result;
is(value("SELECT state FROM ese_instance WHERE instance_id = $other"), 'running', 'ese_init(if_stopped) of one that is being stopped returns when it runs');
nothing_held($node, 'in the end');

done_testing();
