# Logs between backups: the slot that keeps them, truncation, incremental
# backups over SQL and what they restore, and chains that break.
use strict;
use warnings;

use EseClient;
use EseTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => "autovacuum = off\nmax_replication_slots = 4\nmax_wal_size = 64MB\nwal_keep_size = 0\n");
my $data = $node->data_dir;
$node->command_ok([ 'pgbench', '-i', '-s', '2', '-q', 'postgres' ], 'pgbench data');
$node->safe_psql('postgres', 'CREATE TABLE marker (n int)');
my $id = start_instance($node, 'main', circular_log => 'off');
my $dbh = EseClient::connect_to(dsn($node));
my $work = PostgreSQL::Test::Utils::tempdir();

sub chain { return $node->safe_psql('postgres', "SELECT chain_state, slot_name, chain_backup_id FROM ese_instance WHERE instance_id = $id"); }
sub restart_lsn { return $node->safe_psql('postgres', "SELECT restart_lsn FROM pg_replication_slots WHERE slot_name = 'ese_main'"); }
sub begin { my ($grbit) = @_; return $dbh->do("SELECT ese_begin_external_backup_instance($id, $grbit)"); }
sub finish { my ($grbit) = @_; return EseClient::value($dbh, 'SELECT ese_end_external_backup_instance(?, ?)', $id, $grbit // 1); }
sub read_logs
{
	my ($directory) = @_;
	my $names = $dbh->selectcol_arrayref("SELECT file_name FROM ese_get_log_info_instance($id)");
	EseClient::read_files(dsn($node), $id, $directory, 1, @$names) if @$names;
	return @$names;
}

# ---- before a full backup there is nothing to follow
is(chain(), 'none||', 'no chain, and no slot');
like(fails_with($dbh, 'J0560', "SELECT ese_begin_external_backup_instance($id, 1)", 'an incremental backup without a full one'),
	qr/HINT:  Take a full backup and truncate its logs/, 'has a hint');

# ---- a full backup that is not truncated is a copy, and disturbs nothing
EseClient::backup(dsn($node), $id, "$work/copy");
is(last_row($node, 'kind, status'), 'copy|completed', 'without truncation it is a copy');
is(chain(), 'none||', 'which leaves no slot');
like(fails_with($dbh, 'J0560', "SELECT ese_begin_external_backup_instance($id, 1)", 'nor can one follow it'),
	qr/HINT:  The last backup counts only as a copy/, 'which the hint says');

# ---- TruncateLog: only when all logs were read and closed
begin(0);
fails_with($dbh, 'J0521', "SELECT ese_truncate_log_instance($id)", 'TruncateLog in the databases phase');
my $full = "$work/full";
mkdir($full, 0700);
EseClient::read_files(dsn($node), $id, $full, 2, EseClient::list_attached($dbh, $id, $full));
my @logs = @{ $dbh->selectcol_arrayref("SELECT file_name FROM ese_get_log_info_instance($id)") };
is(EseClient::value($dbh, "SELECT string_agg(file_name, ',') FROM ese_get_truncate_log_info_instance($id)"),
	EseClient::value($dbh, "SELECT string_agg(file_name, ',') FROM ese_get_log_info_instance($id) WHERE kind = 'log'"), 'GetTruncateLogInfo: the logs');
my ($left) = grep { m{/[0-9A-F]{24}$} } @logs;
@logs = grep { $_ ne $left } @logs;
EseClient::read_files(dsn($node), $id, $full, 1, @logs);
like(fails_with($dbh, 'J0616', "SELECT ese_truncate_log_instance($id)", 'TruncateLog with one unread'), qr/"\Q$left\E" has not been read/, 'names it');
my ($handle) = $dbh->selectrow_array("SELECT * FROM ese_open_file_instance($id, '$left')");
fails_with($dbh, 'J0521', "SELECT ese_truncate_log_instance($id)", 'and with one open');
EseClient::value($dbh, "SELECT ese_close_file_instance($id, $handle)");
fails_with($dbh, 'J0616', "SELECT ese_truncate_log_instance($id)", 'a log that was closed before its end');
EseClient::read_file($dbh, $id, $left, $full);
is(EseClient::value($dbh, "SELECT ese_truncate_log_instance($id)"), 0, 'TruncateLog');
is(chain(), 'none||', 'takes effect at End');
is(finish(), 0, 'End');
my $base = last_row($node, 'backup_id');
is(last_row($node, 'kind, status'), 'full|completed', 'a full backup');
is(chain(), "ok|ese_main|$base", 'begins a chain');
is($node->safe_psql('postgres', "SELECT restart_lsn > stop_lsn - 16777216 AND restart_lsn >= stop_lsn FROM pg_replication_slots, ese_backup_history WHERE backup_id = $base AND slot_name = 'ese_main'"),
	't', 'whose slot is at the end of its logs');
is($node->safe_psql('postgres', 'SELECT wal_retained IS NOT NULL AND last_full_at IS NOT NULL AND last_copy_at IS NOT NULL FROM ese_instance'), 't', 'ese_instance shows it');

# ---- incrementals: each restores to its own point
my @states = ($full);
for my $n (1 .. 3)
{
	$node->safe_psql('postgres', "INSERT INTO marker VALUES ($n)");
	$node->command_ok([ 'pgbench', '-n', '-c', '4', '-t', '200', 'postgres' ], "load $n");
	# WAL beyond the slot is recycled by checkpoints, what it keeps is not
	$node->safe_psql('postgres', 'SELECT pg_switch_wal(); CHECKPOINT');
	PostgreSQL::Test::Utils::system_or_bail('cp', '-a', $states[-1], "$work/state$n");
	push @states, "$work/state$n";
	EseClient::backup(dsn($node), $id, "$work/state$n", incremental => 1, streams => $n == 2);
	is(last_row($node, 'kind, status, start_lsn < stop_lsn'), 'incremental|completed|t', "incremental $n");
	is($node->safe_psql('postgres', "SELECT restart_lsn >= stop_lsn FROM pg_replication_slots, (SELECT * FROM ese_backup_history ORDER BY backup_id DESC LIMIT 1) h WHERE slot_name = 'ese_main'"),
		't', 'moves the slot');
	is(chain(), "ok|ese_main|$base", 'and goes on with the chain');
}
for my $n (0 .. 3)
{
	my $restored = restore_and_check($node, "restored$n", $states[$n]);
	is($restored->safe_psql('postgres', 'SELECT coalesce(max(n), 0), count(*) FROM marker'), "$n|$n", "state $n has its markers");
	is_good_restore($restored, "state $n");
	$restored->stop;
}
is($node->safe_psql('postgres', 'SELECT last_incremental_at > last_full_at FROM ese_instance'), 't', 'ese_instance shows the last one');

# ---- one that truncates nothing is a differential, and moves nothing
my $before = restart_lsn();
$node->safe_psql('postgres', 'INSERT INTO marker VALUES (4)');
begin(1);
is($node->safe_psql('postgres', 'SELECT kind, phase FROM ese_backup_progress'), 'incremental|logs', 'an incremental begins in the logs phase');
is(EseClient::value($dbh, "SELECT count(*) FROM ese_get_attach_info_instance($id)"), 0, 'with nothing attached');
fails_with($dbh, 'J0521', "SELECT ese_truncate_log_instance($id)", 'TruncateLog before GetLogInfo');
read_logs("$work/state3");
is(finish(), 0, 'End without TruncateLog');
is(last_row($node, 'kind'), 'differential', 'is a differential');
is(restart_lsn(), $before, 'the slot stays');
begin(1);
read_logs("$work/state3");
is(finish(1 | 0x100), 0, 'End with JET_bitBackupTruncateDone');
is(last_row($node, 'kind'), 'incremental', 'is an incremental');
isnt(restart_lsn(), $before, 'the slot moves');

# ---- one that is aborted, stopped or incomplete moves nothing
$before = restart_lsn();
begin(1);
is(finish(), -800, 'ended before its logs were requested');
$node->safe_psql('postgres', 'INSERT INTO marker VALUES (5)');
begin(1);
read_logs("$work/state3");
EseClient::value($dbh, "SELECT ese_truncate_log_instance($id)");
EseClient::value($dbh, "SELECT ese_stop_backup_instance($id)");
is(finish(), -801, 'stopped after TruncateLog');
begin(1);
read_logs("$work/state3");
EseClient::value($dbh, "SELECT ese_truncate_log_instance($id)");
is(finish(2), 0, 'aborted after TruncateLog');
is(restart_lsn(), $before, 'the slot stays');
is(chain(), "ok|ese_main|$base", 'the chain is whole');
nothing_held($node, 'nothing else is held');

# ---- an error and a crash around its end: the chain is whole
for my $point (qw(end.start end.recorded end.advanced))
{
	$node->safe_psql('postgres', 'INSERT INTO marker VALUES (6)');
	begin(1);
	read_logs("$work/state3");
	EseClient::value($dbh, "SELECT ese_truncate_log_instance($id)");
	set_test_points($node, "$point=fatal");
	error_of($dbh, "SELECT ese_end_external_backup_instance($id)");
	set_test_points($node, '');
	wait_for($node, "SELECT state = 'running' FROM ese_instance WHERE instance_id = $id");
	my $ended = last_row($node, 'status');
	is(chain(), "ok|ese_main|$base", "$point: the chain is whole, the backup $ended");
	ok(eval { EseClient::backup(dsn($node), $id, "$work/state3", incremental => 1); 1 }, "$point: the next incremental") or diag($@);
}
my $restored = restore_and_check($node, 'restored_after_errors', "$work/state3");
is($restored->safe_psql('postgres', 'SELECT count(*) FROM marker'), '8', 'and all of it restores');
$restored->stop;

# ---- native: a full one truncates, and so begins a chain
is(EseClient::value($dbh, "SELECT ese_backup_instance($id, '$work/native')"), 0, 'a native backup');
is(last_row($node, 'kind'), 'full', 'is a full one');
is(chain(), 'ok|ese_main|' . last_row($node, 'backup_id'), 'and begins a chain');
is($node->safe_psql('postgres', 'SELECT chain_location, last_incremental_at FROM ese_instance'), "$work/native|", 'at its place, before any incremental');
$base = last_row($node, 'backup_id');
$node->safe_psql('postgres', 'INSERT INTO marker VALUES (9)');
EseClient::backup(dsn($node), $id, "$work/native", incremental => 1);
$restored = restore_and_check($node, 'restored_native', "$work/native");
is($restored->safe_psql('postgres', 'SELECT max(n) FROM marker'), '9', 'an incremental that follows it restores');
$restored->stop;

# ---- a timeline switch: the standby is promoted, and goes on with a chain of its own
$node->safe_psql('postgres', "SELECT pg_create_physical_replication_slot('standby')");
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "primary_slot_name = 'standby'\n");
$standby->start;
$node->safe_psql('postgres', 'CHECKPOINT');
$node->wait_for_catchup($standby);
my $other = start_instance($standby, 'other', circular_log => 'off');
EseClient::backup(dsn($standby), $other, "$work/standby", truncate => 1);
$node->safe_psql('postgres', 'INSERT INTO marker VALUES (10); SELECT pg_switch_wal()');
$node->wait_for_catchup($standby);
EseClient::backup(dsn($standby), $other, "$work/standby", incremental => 1);
is(last_row($standby, 'kind, status'), 'incremental|completed', 'an incremental on a standby');
$standby->promote;
wait_for($standby, 'SELECT NOT pg_is_in_recovery()');
$standby->safe_psql('postgres', 'INSERT INTO marker VALUES (11)');
EseClient::backup(dsn($standby), $other, "$work/standby", incremental => 1);
ok(-e "$work/standby/pg_wal/00000002.history", 'an incremental across a promotion has the history file');
my $followed = PostgreSQL::Test::Cluster->new('followed');
$standby->safe_psql('postgres', "SELECT ese_restore_instance($other, '$work/standby', '" . $followed->data_dir . "')");
$followed->append_conf('postgresql.conf', 'port = ' . $followed->port . "\nunix_socket_directories = '" . $followed->host . "'\nprimary_conninfo = ''\n");
$followed->start;
is($followed->safe_psql('postgres', 'SELECT max(n) FROM marker'), '11', 'restored by the server it follows the promotion');
$followed->stop;
$restored = restore_and_check($standby, 'restored_promoted', "$work/standby", conf => "primary_conninfo = ''\nrestore_command = 'false'\n");
is($restored->safe_psql('postgres', 'SELECT count(*) FROM marker WHERE n = 11'), '0', 'started as it is, it stays on its timeline');
$restored->stop;
append_to_file("$work/standby/recovery.signal", '');
my $latest = PostgreSQL::Test::Cluster->new('latest');
PostgreSQL::Test::Utils::system_or_bail('cp', '-a', "$work/standby", $latest->data_dir);
$latest->append_conf('postgresql.conf', "port = " . $latest->port . "\nunix_socket_directories = '" . $latest->host . "'\nprimary_conninfo = ''\nrestore_command = 'false'\nrecovery_target_timeline = 'latest'\n");
$latest->start;
wait_for($latest, 'SELECT NOT pg_is_in_recovery()');
is($latest->safe_psql('postgres', 'SELECT max(n) FROM marker'), '11', 'with recovery.signal it follows the promotion');
$latest->stop;
$standby->stop;
$node->safe_psql('postgres', "SELECT pg_drop_replication_slot('standby')");

# ---- a chain that breaks is refused, with a reason
$node->safe_psql('postgres', "SELECT pg_drop_replication_slot('ese_main')");
is(chain(), "broken||$base", 'the slot was dropped by hand: the chain is broken');
my $message = fails_with($dbh, 'J0569', "SELECT ese_begin_external_backup_instance($id, 1)", 'an incremental is refused');
like($message, qr/slot "ese_main" does not exist.*HINT:  Take a full backup/s, 'and says why');
EseClient::backup(dsn($node), $id, "$work/full2", truncate => 1, sessions => 2);
$base = last_row($node, 'backup_id');
is(chain(), "ok|ese_main|$base", 'a full backup begins a new one');
$node->safe_psql('postgres', 'ALTER SYSTEM SET max_slot_wal_keep_size = 1');
$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
$node->safe_psql('postgres', 'CREATE TABLE IF NOT EXISTS big AS SELECT 1 AS a; SELECT pg_switch_wal(); INSERT INTO big VALUES (1); SELECT pg_switch_wal(); CHECKPOINT')
  for 1 .. 4;
wait_for($node, "SELECT wal_status = 'lost' FROM pg_replication_slots WHERE slot_name = 'ese_main'");
is(chain(), "broken|ese_main|$base", 'max_slot_wal_keep_size was exceeded: the chain is broken');
like(fails_with($dbh, 'J0569', "SELECT ese_begin_external_backup_instance($id, 1)", 'an incremental is refused'),
	qr/slot "ese_main" was invalidated/, 'and says why');
$node->safe_psql('postgres', 'ALTER SYSTEM RESET max_slot_wal_keep_size');
$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
EseClient::backup(dsn($node), $id, "$work/full3", truncate => 1, sessions => 2);
is(chain(), 'ok|ese_main|' . last_row($node, 'backup_id'), 'a full backup begins a new one');

# ---- guards: the chain gives way, an open backup too
sub write_wal { $node->safe_psql('postgres', 'INSERT INTO big VALUES (1); SELECT pg_switch_wal()') for 1 .. $_[0]; return; }
my $offset = -s $node->logfile;
$base = last_row($node, 'backup_id');
$dbh->do("SELECT ese_set_system_parameter($id, 'backup_max_wal_retained', '40MB')");
write_wal(4);
wait_for($node, "SELECT chain_state = 'broken' AND slot_name IS NULL FROM ese_instance WHERE instance_id = $id");
like(slurp_file($node->logfile, $offset), qr/instance "main" gives up its replication slot: \d+ bytes of WAL are retained, \d+ more than backup_max_wal_retained/,
	'backup_max_wal_retained: the chain gives way');
like($node->safe_psql('postgres', "SELECT reason FROM ese_backup_history WHERE backup_id = $base"), qr/no incremental can follow any more: .* more than backup_max_wal_retained/,
	'and the history says why');
fails_with($dbh, 'J0569', "SELECT ese_begin_external_backup_instance($id, 1)", 'an incremental is refused');
begin(0);
write_wal(4);
wait_for($node, 'SELECT stop_requested FROM ese_backup_progress');
is(last_row($node, 'stop_cause'), 'wal limit', 'an open backup is stopped');
is(finish(), -543, 'End says -543');
like(last_row($node, 'status || reason'), qr/^failed.*more than backup_max_wal_retained/, 'and the history why');
$dbh->do("SELECT ese_set_system_parameter($id, 'backup_max_wal_retained', 'default')");
EseClient::backup(dsn($node), $id, "$work/guarded", truncate => 1, sessions => 2);
like(chain(), qr/^ok/, 'a chain again');
begin(0);
$dbh->do("SELECT ese_set_system_parameter($id, 'backup_min_free_space', '1000TB')");
$node->safe_psql('postgres', 'INSERT INTO big VALUES (1)');
wait_for($node, 'SELECT stop_requested FROM ese_backup_progress');
is(last_row($node, 'stop_cause'), 'disk space', 'backup_min_free_space: an open backup is stopped');
finish();
wait_for($node, "SELECT chain_state = 'broken' AND slot_name IS NULL FROM ese_instance WHERE instance_id = $id");
pass('and the chain gives way');
$dbh->do("SELECT ese_set_system_parameter($id, 'backup_min_free_space', 'default')");
EseClient::backup(dsn($node), $id, "$work/full3b", truncate => 1, sessions => 2);
nothing_held($node, 'after the guards');

# ---- ese_check_instance
is($node->safe_psql('postgres', qq(SELECT string_agg("check", ', ') FROM ese_check_instance($id) WHERE ok)),
	'wal_level, worker, replication slots, rights, WAL volume, chain, last good backup, last backup, damaged pages, data directory, records', 'ese_check_instance: all is well');
$node->safe_psql('postgres', "SELECT pg_drop_replication_slot('ese_main')");
is($node->safe_psql('postgres', qq(SELECT "check", detail FROM ese_check_instance($id) WHERE NOT ok)),
	'chain|WAL since backup ' . last_row($node, 'backup_id') . ' is gone: replication slot "ese_main" does not exist. Take a full backup.', 'a broken chain is not');
EseClient::backup(dsn($node), $id, "$work/full3c", truncate => 1, sessions => 2);

# ---- no free slot: the full backup counts as a copy, with a warning
$node->safe_psql('postgres', "SELECT pg_drop_replication_slot('ese_main')");
$node->safe_psql('postgres', "SELECT pg_create_physical_replication_slot('taken' || i) FROM generate_series(1, 3) i");
EseClient::backup(dsn($node), $id, "$work/full4", truncate => 1, sessions => 2);
is(last_row($node, 'kind, status'), 'copy|completed', 'without a free slot a full backup counts as a copy');
$node->safe_psql('postgres', "SELECT pg_drop_replication_slot('taken' || i) FROM generate_series(1, 3) i");

# ---- what it keeps can be given up: circular logging, or no instance
EseClient::backup(dsn($node), $id, "$work/full5", truncate => 1, sessions => 2);
like(chain(), qr/^ok\|ese_main/, 'a chain');
$dbh->disconnect;
$node->restart;
like(chain(), qr/^ok\|ese_main/, 'it survives a restart');
$dbh = EseClient::connect_to(dsn($node));
wait_for($node, "SELECT state = 'running' FROM ese_instance WHERE instance_id = $id");
$dbh->do("SELECT ese_term($id)");
$dbh->do("SELECT ese_set_system_parameter($id, 'circular_log', 'on')");
is(chain(), 'none||', 'circular_log = on gives the slot up');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_replication_slots'), 0, 'really');
$dbh->do("SELECT ese_set_system_parameter($id, 'circular_log', 'off')");
$dbh->do("SELECT ese_init($id)");
EseClient::backup(dsn($node), $id, "$work/full6", truncate => 1, sessions => 2);
$dbh->do("SELECT ese_term($id)");
$dbh->do("SELECT ese_drop_instance($id)");
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_replication_slots'), 0, 'a dropped instance leaves no slot');

done_testing();
