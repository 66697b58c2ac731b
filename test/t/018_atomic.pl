# Atomic backups: temp, new and old; at every moment there is a complete one.
use strict;
use warnings;

use EseClient;
use EseTest;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => "autovacuum = off\nmax_wal_size = 64MB\n");
$node->command_ok([ 'pgbench', '-i', '-s', '1', '-q', 'postgres' ], 'pgbench data');
$node->safe_psql('postgres', 'CREATE TABLE marker (n int)');
my $id = start_instance($node, 'main', circular_log => 'off');
my $dbh = EseClient::connect_to(dsn($node));
my $work = PostgreSQL::Test::Utils::tempdir();
my $place = "$work/backups";
my $restores = 0;
my ($full, $incremental) = (4, 5);

sub backup { my ($grbit) = @_; return $dbh->do("SELECT ese_backup_instance($id, '$place', $grbit)"); }
sub mark { my ($n) = @_; $node->safe_psql('postgres', "INSERT INTO marker VALUES ($n)"); return; }
sub content { return join(' ', map { s{.*/}{}r } sort glob("$place/*")); }

# What the directory as it is restores to.
sub restores_to
{
	my ($wanted, $name) = @_;
	my $restored = PostgreSQL::Test::Cluster->new('restored' . ++$restores);
	my $data = $restored->data_dir;
	is(error_of($dbh, "SELECT ese_restore_instance($id, '$place', '$data')"), '00000', "$name: restored") or diag($dbh->errstr);
	$restored->append_conf('postgresql.conf', 'port = ' . $restored->port . "\nunix_socket_directories = '" . $restored->host . "'\n");
	$restored->start;
	is($restored->safe_psql('postgres', 'SELECT max(n) FROM marker'), $wanted, $name);
	$restored->stop;
	system('rm', '-rf', $data);
	return;
}

# ---- the protocol
mark(1);
backup($full);
is(content(), 'new', 'the first one is new');
is(last_row($node, 'kind, status, location'), "full|completed|$place/new", 'and recorded there');
command_ok([ 'pg_verifybackup', '-q', "$place/new" ], 'it is a backup');
mark(2);
set_test_points($node, 'native.sync=wait');
my $offset = -s $node->logfile;
$dbh->do("SELECT ese_backup_instance($id, '$place', $full, false)");
$node->wait_for_log(qr/waiting at test point "native.sync"/, $offset);
is(content(), 'old temp', 'a new one is written to temp, the former one is old');
command_ok([ 'pg_verifybackup', '-q', "$place/old" ], 'and complete');
my $second = start_instance($node, 'second', circular_log => 'off');
like(fails_with($dbh, 'J1032', "SELECT ese_backup_instance($second, '$place', $full)", 'another instance has to wait'), qr/Another backup is being written to "\Q$place\E"/, 'which is said');
is(content(), 'old temp', 'and has changed nothing');
set_test_points($node, '');
$dbh->do("CALL ese_wait_backup($id)");
wait_for($node, "SELECT count(*) = 0 FROM pg_ls_dir('$place') WHERE pg_ls_dir <> 'new'");
is(content(), 'new', 'then it is new, and the former one is gone');
$dbh->do("SELECT ese_drop_instance($second)") if $dbh->do("SELECT ese_term($second)");
restores_to(2, 'it restores');

# ---- incrementals
for my $n (3, 4)
{
	mark($n);
	backup($incremental);
	is(content(), 'new', 'an incremental stays with its full one');
	is(last_row($node, 'kind, status, location'), "incremental|completed|$place/new", 'and is recorded there');
}
restores_to(4, 'with its incrementals');
fails_with($dbh, 'J1023', "SELECT ese_backup_instance($id, '$place', 1)", 'without the option it is another directory');

# ---- stopped: the former one is there
mark(5);
set_test_points($node, 'native.sync=wait');
$offset = -s $node->logfile;
$dbh->do("SELECT ese_backup_instance($id, '$place', $full, false)");
$node->wait_for_log(qr/waiting at test point "native.sync"/, $offset);
$dbh->do("SELECT ese_stop_backup_instance($id, false)");
set_test_points($node, '');
fails_with($dbh, 'J0801', "CALL ese_wait_backup($id)", 'stopped');
is(content(), 'old', 'the former one is there');
restores_to(4, 'stopped: the former one restores');
mark(6);
backup($incremental);
is(last_row($node, 'kind, status, location'), "incremental|completed|$place/old", 'incrementals go on with it');
restores_to(6, 'and are restored');
backup($full);
is(content(), 'new', 'the next one replaces it');

# ---- errors, and kill -9, at every step: there is a complete one
my $n = 10;
for my $how (qw(error kill))
{
	for my $point (qw(atomic.remove native.databases native.logs native.complete atomic.publish atomic.published))
	{
		mark(++$n);
		backup($incremental) if $n % 2;
		my $have = $n % 2 ? $n : $n - 1;
		if ($how eq 'error')
		{
			set_test_points($node, "$point=error");
			error_of($dbh, "SELECT ese_backup_instance($id, '$place', $full)");
			set_test_points($node, '');
		}
		else
		{
			my $worker = $node->safe_psql('postgres', "SELECT worker_pid FROM ese_instance WHERE instance_id = $id");
			set_test_points($node, "$point=wait");
			$offset = -s $node->logfile;
			my $child = fork() // die;
			if ($child == 0)
			{
				my $other = EseClient::connect_to(dsn($node));
				eval { $other->do("SELECT ese_backup_instance($id, '$place', $full)") };
				POSIX::_exit(0);
			}
			$node->wait_for_log(qr/waiting at test point "\Q$point\E"/, $offset);
			$dbh->disconnect;
			kill_server($node, $worker);
			waitpid($child, 0);
			$node->start;
			$dbh = EseClient::connect_to(dsn($node));
			set_test_points($node, '');
		}
		wait_for($node, "SELECT state = 'running' FROM ese_instance WHERE instance_id = $id");
		is($node->safe_psql('postgres', "SELECT count(*) FROM ese_backup_history WHERE status IN ('running', 'stopped')"), 0, "$how at $point: the history is true");
		is(last_row($node, 'status'), $point eq 'atomic.published' ? 'completed' : 'failed', "$how at $point: recorded as what it is");
		my $found = -e "$place/new/backup_manifest" && !-e "$place/new/ese_backup_incomplete" ? 'new' : 'old';
		command_ok([ 'pg_verifybackup', '-q', "$place/$found" ], "$how at $point: $found is a backup");
		is($node->safe_psql('postgres', 'SELECT chain_state FROM ese_instance'), 'ok', "$how at $point: the chain is whole");
		restores_to($point eq 'atomic.published' ? $n : $have, "$how at $point: it restores") if $n % 3 == 0;
		backup($full);
		is(content(), 'new', "$how at $point: the next one is the only one");
	}
}
restores_to($n, 'in the end');

# ---- what is not ours stays
mkdir("$place/old");
append_to_file("$place/old/precious", 'x');
like(fails_with($dbh, 'J0504', "SELECT ese_backup_instance($id, '$place', $full)", 'old is something else'), qr/old" is no backup, and in the way/, 'it is named');
ok(-e "$place/old/precious", 'and stays');
is(content(), 'new old', 'nothing has moved');
fails_with($dbh, 'J1023', "SELECT ese_backup_instance($id, '" . $node->data_dir . "/x', $full)", 'within the cluster');
fails_with($dbh, 'J0900', "SELECT ese_begin_external_backup_instance($id, 4)", 'over SQL there are no atomic ones');
set_test_points($node, 'native.sync=wait');
$offset = -s $node->logfile;
$dbh->do("SELECT ese_backup_instance($id, '$work/fresh', $full, false)");
$node->wait_for_log(qr/waiting at test point "native.sync"/, $offset);
$dbh->do("SELECT ese_stop_backup_instance($id, false)");
set_test_points($node, '');
wait_for($node, 'SELECT count(*) = 0 FROM ese_backup_progress');
ok(!-e "$work/fresh", 'a directory that was not there before goes with a backup that was stopped');
nothing_held($node, 'in the end');
is(scalar(() = slurp_file($node->logfile) =~ /was terminated by signal 11/g), 0, 'no crash');

done_testing();
