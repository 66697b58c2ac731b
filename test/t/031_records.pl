# Records under ese/ that cannot be written: the disk is full, or somebody has
# taken the rights away.  A call that refuses has changed nothing; a stop and
# whatever else ends a backup does end it, and what could not be recorded is
# recorded later; the instance is usable all the time.
use strict;
use warnings;

use EseClient;
use EseTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $work = PostgreSQL::Test::Utils::tempdir();
my $disk = "$work/disk";
$ENV{ESE_TEST_DISK} = $disk;
my $library = build_preload('disk');
my $node = do { local $ENV{LD_PRELOAD} = $library; new_node('main', conf => "autovacuum = off\nfsync = on\n") };
my $data = $node->data_dir;
my $id = start_instance($node, 'main');
my $spare = $node->safe_psql('postgres', "SELECT ese_create_instance('spare')");

sub session
{
	my $dbh = EseClient::connect_to(dsn($node));
	$dbh->do("SET statement_timeout = '20s'");
	$dbh->do("SET client_min_messages = error");
	return $dbh;
}
my $dbh = session();

# What can be wrong with a disk: how it comes, how it goes, what a backup says;
# two of them are tried with every call.
my @troubles = (
	{ name => 'no rights', all => 1, jet => 1032, state => '42501',
		on => sub { chmod(0500, "$data/ese") }, off => sub { chmod(0700, "$data/ese") } },
	map { my $order = $_->[1]; { name => $_->[0], jet => $_->[2], state => $_->[3], all => $_->[4],
		on => sub { append_to_file($disk, $order) }, off => sub { unlink($disk) } } }
	  [ 'a full disk', 'write 28', 1808, '53100', 1 ], [ 'no flush', 'fsync 5', 1022, '58030' ], [ 'no rename', 'rename 30', 1032, '42501' ]);

sub value { return EseClient::value($dbh, @_); }
sub row { my ($columns) = @_; return last_row($node, $columns); }
sub state_of { return value("SELECT state FROM ese_instance WHERE instance_id = $_[0]"); }
sub begin { return $dbh->do("SELECT ese_begin_external_backup_instance($id)"); }
sub records { return value("SELECT ok::text FROM ese_check_instance($id) WHERE \"check\" = 'records'"); }

# A backup that is good when it is ended now.
sub read_everything
{
	my ($directory) = @_;
	my @files = EseClient::list_attached($dbh, $id, $directory);
	EseClient::read_file($dbh, $id, $_, $directory) for @files;
	EseClient::read_file($dbh, $id, $_->[0], $directory)
	  for @{ $dbh->selectall_arrayref("SELECT file_name FROM ese_get_log_info_instance($id)") };
	return;
}

my $count = 0;

# What refuses has changed nothing.
sub refusals
{
	my ($trouble) = @_;
	my ($name, $on, $off, $jet, $sqlstate) = @$trouble{qw(name on off jet state)};
	my $worker = value("SELECT worker_pid FROM ese_instance WHERE instance_id = $id");

	$on->();
	fails_with($dbh, "J$jet", "SELECT ese_begin_external_backup_instance($id)", "$name: Begin is refused");
	fails_with($dbh, "J$jet", "SELECT ese_backup_instance($id, '$work/none')", "$name: so is a native backup");
	ok(!-e "$work/none", 'which leaves nothing');
	fails_with($dbh, $sqlstate, "SELECT ese_create_instance('new$count')", "$name: create");
	fails_with($dbh, $sqlstate, "SELECT ese_drop_instance($spare)", "$name: drop");
	fails_with($dbh, $sqlstate, "SELECT ese_set_system_parameter($id, 'history_limit', '77')", "$name: set");
	fails_with($dbh, $sqlstate, "SELECT ese_init($spare)", "$name: init") for 1 .. 2;
	is(state_of($spare), 'stopped', 'and it is stopped');
	fails_with($dbh, "J$jet", "SELECT ese_term($id)", "$name: term");
	$off->();
	is(value("SELECT worker_pid FROM ese_instance WHERE instance_id = $id"), $worker, "$name: the worker lives");
	is(state_of($id), 'running', 'and serves');
	is(value("SELECT ese_get_system_parameter($id, 'history_limit')"), '1000', 'the parameter is as it was');
	is(value('SELECT count(*) FROM ese_instance'), 2, 'nothing was created, nothing dropped');
	nothing_held($node, "$name: nothing is held");
	wait_for($node, "SELECT ok FROM ese_check_instance($id) WHERE \"check\" = 'records'");
	return;
}

for my $trouble (@troubles)
{
	my ($name, $on, $off, $jet, $sqlstate) = @$trouble{qw(name on off jet state)};
	refusals($trouble) if $trouble->{all};

	# ---- the end of a backup that is good, but nobody would know
	begin();
	read_everything("$work/copy" . $count++);
	$on->();
	is(value("SELECT ese_end_external_backup_instance($id)"), -$jet, "$name: End is not good");
	like(row('status || reason'), qr/^failed.*could not be recorded/, 'the history says why');
	is(records(), 'false', 'and ese_check_instance that it is not on disk');
	$off->();
	wait_for($node, "SELECT ok FROM ese_check_instance($id) WHERE \"check\" = 'records'");
	like(slurp_file("$data/ese/history.$id"), qr/its end could not be recorded/, 'then it is');

	# ---- a stop: in time, whatever the disk does
	begin();
	$on->();
	my $begun = time();
	is(value("SELECT ese_stop_backup_instance($id)"), 0, "$name: stop");
	ok(time() - $begun < 5, 'in time');
	is(value("SELECT ese_end_external_backup_instance($id)"), -801, 'and End');
	is(row('status, stop_cause'), 'aborted by server|user', 'with its receipt');
	$off->();
	begin();
	is(value("SELECT ese_end_external_backup_instance($id, 2)"), 0, "$name: the next one begins and ends");

	next if !$trouble->{all};

	# ---- the end of an instance: refused with its backup, or granted
	begin();
	$on->();
	fails_with($dbh, "J$jet", "SELECT ese_term($id, ese_grbit('JET_bitTermStopBackup'))", "$name: Term");
	ok(value("SELECT ese_backup_id($id)"), 'its backup is still open');
	$off->();
	is(value("SELECT ese_term($id, ese_grbit('JET_bitTermStopBackup'))"), 0, 'then it is granted');
	$on->();
	fails_with($dbh, $sqlstate, "SELECT ese_init($id)", "$name: init");
	$off->();
	is(value("SELECT ese_init($id)"), 0, 'then it starts');

	# ---- nobody comes back
	value("SELECT ese_set_system_parameter($id, 'backup_idle_timeout', '300ms')");
	begin();
	$on->();
	wait_for($node, 'SELECT count(*) = 0 FROM ese_backup_progress');
	pass("$name: the idle timeout ends a backup");
	$off->();
	is(row('status, stop_cause'), 'aborted by server|idle timeout', 'as it should');
	value("SELECT ese_set_system_parameter($id, 'backup_idle_timeout', 'default')");

	# ---- the worker goes
	begin();
	my $worker = value("SELECT worker_pid FROM ese_instance WHERE instance_id = $id");
	$on->();
	kill('TERM', $worker);
	wait_for($node, "SELECT state = 'running' AND worker_pid <> $worker FROM ese_instance WHERE instance_id = $id");
	is(row('status, stop_cause'), 'failed|worker exit', "$name: the worker comes back, and knows");
	$off->();
	begin();
	is(value("SELECT ese_end_external_backup_instance($id, 2)"), 0, 'the next one begins and ends');
	is(row('status'), 'aborted by caller', 'and is recorded');
	nothing_held($node, "$name: nothing is held");
}

# ---- an error in the worker on top of it
begin();
chmod(0500, "$data/ese");
set_test_points($node, 'end.start=error');
fails_with($dbh, 'XX000', "SELECT ese_end_external_backup_instance($id)", 'an error in End');
set_test_points($node, '');
wait_for($node, "SELECT state = 'running' FROM ese_instance WHERE instance_id = $id");
chmod(0700, "$data/ese");
begin();
is(value("SELECT ese_end_external_backup_instance($id, 2)"), 0, 'the instance goes on');

# ---- a worker whose way out ends in the middle: the next one takes over
begin();
is(value("SELECT handle > 0 FROM ese_open_file_instance($id, 'PG_VERSION')"), 1, 'a file is open');
set_test_points($node, 'worker.exit=error');
my $lost = value("SELECT worker_pid FROM ese_instance WHERE instance_id = $id");
kill('TERM', $lost);
wait_for($node, "SELECT state = 'running' AND worker_pid <> $lost FROM ese_instance WHERE instance_id = $id");
set_test_points($node, '');
is(row('status, stop_cause'), 'failed|worker exit', 'it knows of the backup');
begin();
is(value("SELECT ese_end_external_backup_instance($id, 2)"), 0, 'the next one begins and ends');
nothing_held($node, 'and nothing is held');

# ---- it all was recorded
$node->restart;
wait_for($node, "SELECT state = 'running' FROM ese_instance WHERE instance_id = $id");
is($node->safe_psql('postgres', "SELECT count(*) FROM ese_backup_history WHERE status IN ('running', 'stopped')"), 0, 'no row was left open');
is($node->safe_psql('postgres', "SELECT count(*) FROM ese_backup_history WHERE reason LIKE '%could not be recorded%'"), 4, 'after a restart, too');
is($node->safe_psql('postgres', "SELECT count(*), count(DISTINCT backup_id) FROM ese_backup_history"),
	join('|', ($node->safe_psql('postgres', 'SELECT count(*) FROM ese_backup_history')) x 2), 'no id came twice');

done_testing();
