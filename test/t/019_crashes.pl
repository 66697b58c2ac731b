# kill -9 of the whole server at random moments of backups, truncation and
# restore: afterwards the history is true, the chain is whole, WAL is neither
# lost nor pinned, and the next backup works.
use strict;
use warnings;

use EseClient;
use EseTest;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = new_node('main', conf => "autovacuum = off\nmax_wal_size = 64MB\nwal_keep_size = 0\n");
$node->command_ok([ 'pgbench', '-i', '-s', '5', '-q', 'postgres' ], 'pgbench data');
$node->safe_psql('postgres', 'CREATE TABLE marker (n int)');
my $id = start_instance($node, 'main', circular_log => 'off');
my $dbh = EseClient::connect_to(dsn($node));
my $work = PostgreSQL::Test::Utils::tempdir();
my $atomic = "$work/atomic";

sub chain_location { return $node->safe_psql('postgres', 'SELECT chain_location FROM ese_instance'); }

# Every operation that is cut off, and how long it may take, in seconds.
my %work = (
	'full' => [ 0.6, sub { "SELECT ese_backup_instance($id, '$work/full$_[0]')" } ],
	'atomic' => [ 0.6, sub { "SELECT ese_backup_instance($id, '$atomic', 4)" } ],
	'incremental' => [ 0.1, sub { "SELECT ese_backup_instance($id, '" . chain_location() . "', 1)" } ],
	'restore' => [ 1.5, sub { "SELECT ese_restore_instance($id, '" . chain_location() . "', '$work/restored$_[0]')" } ],
	'truncation' => [ 0.3 ]);

# A whole incremental over SQL; most of its time it truncates and ends.
sub truncation
{
	my $directory = "$work/sql" . rand();
	mkdir($directory);
	EseClient::backup(dsn($node), $id, $directory, incremental => 1, sessions => 1);
	return;
}

$dbh->do("SELECT ese_backup_instance($id, '$work/first')");
my $markers = 0;
for my $round (1 .. 20)
{
	my $name = (sort keys %work)[ $round % 5 ];
	my ($seconds, $sql) = @{ $work{$name} };
	$node->safe_psql('postgres', "INSERT INTO marker VALUES ($round); SELECT pg_switch_wal()");
	$markers++;
	$sql = $sql->($round) if $sql;
	my $worker = $node->safe_psql('postgres', "SELECT worker_pid FROM ese_instance WHERE instance_id = $id");
	my $child = fork() // die;
	if ($child == 0)
	{
		eval { $sql ? EseClient::connect_to(dsn($node))->do($sql) : truncation() };
		POSIX::_exit(0);
	}
	usleep(rand($seconds) * 1_000_000);
	$dbh->disconnect;
	kill_server($node, $worker);
	waitpid($child, 0);
	$node->start;
	$dbh = EseClient::connect_to(dsn($node));
	wait_for($node, "SELECT state = 'running' FROM ese_instance WHERE instance_id = $id");
	my $step = "round $round, $name";

	# the history
	my ($status, $location) = split(/\|/, last_row($node, 'status, location'));
	is($node->safe_psql('postgres', "SELECT count(*) FROM ese_backup_history WHERE status IN ('running', 'stopped')"), 0, "$step: nothing is open ($status)");
	is($node->safe_psql('postgres', "SELECT count(*) FROM ese_backup_history WHERE status = 'failed' AND (reason IS NULL OR ended_at IS NULL)"), 0, "$step: what has failed has a reason");
	if ($name eq 'full' || $name eq 'restore')
	{
		my $usable = -e "$location/global/pg_control" && !-e "$location/ese_backup_incomplete";
		ok(!$usable || $name eq 'restore' || system('pg_verifybackup', '-q', $location) == 0, "$step: what looks like a backup is one");
		ok($status ne 'completed' || $usable, "$step: what is recorded as good is there");
	}

	# the chain: no slot but its own, and it has its WAL
	is($node->safe_psql('postgres', 'SELECT string_agg(slot_name, $$ $$) FROM pg_replication_slots'), 'ese_main', "$step: one slot");
	is($node->safe_psql('postgres', 'SELECT chain_state FROM ese_instance'), 'ok', "$step: the chain is whole");

	# the next backup: an incremental, if the server knows where
	# logs that were read over SQL are not where the full backup is
	my $sql_logs = $status eq 'completed' && $location eq '';
	$location = chain_location();
	if ($sql_logs)
	{
		like(fails_with($dbh, 'J0569', "SELECT ese_backup_instance($id, '$location', 1)", "$step: an incremental would leave a gap"), qr/[Tt]he logs of backup \d+ are not in/, "$step: which is said");
		is(error_of($dbh, "SELECT ese_backup_instance($id, '$work/again$round')"), '00000', "$step: a full backup works") or diag($dbh->errstr);
	}
	elsif (-d $location)
	{
		is(error_of($dbh, "SELECT ese_backup_instance($id, '$location', 1)"), '00000', "$step: the next incremental works") or diag($dbh->errstr);
		cmp_ok($node->safe_psql('postgres', 'SELECT wal_retained FROM ese_instance'), '<', 64 * 1024 * 1024, "$step: and frees WAL");
		command_ok([ 'pg_verifybackup', '-q', $location ], "$step: and the backup is good");
	}
	else
	{
		# it has moved out of the way of one that was cut off
		is(error_of($dbh, "SELECT ese_backup_instance($id, '$atomic', 5)"), '00000', "$step: the next incremental works") or diag($dbh->errstr);
	}
	system('rm', '-rf', glob("$work/restored*"));
}
$dbh->do("SELECT ese_backup_instance($id, '$work/last')");
is(error_of($dbh, "SELECT ese_verify_backup($id, '$work/last', 'restore')"), '00000', 'a full backup in the end');
my $restored = PostgreSQL::Test::Cluster->new('restored');
$node->safe_psql('postgres', 'INSERT INTO marker VALUES (100)');
$dbh->do("SELECT ese_backup_instance($id, '$work/last', 1)");
is(error_of($dbh, "SELECT ese_restore_instance($id, '$work/last', '" . $restored->data_dir . "')"), '00000', 'and an incremental restore');
$restored->append_conf('postgresql.conf', 'port = ' . $restored->port . "\nunix_socket_directories = '" . $restored->host . "'\n");
$restored->start;
is($restored->safe_psql('postgres', 'SELECT count(*) FROM marker'), $markers + 1, 'with everything');
$restored->stop;
nothing_held($node, 'in the end');
is(join(' ', glob($node->data_dir . '/ese/private.*')), '', 'nothing is left of private servers');
is(scalar(() = slurp_file($node->logfile) =~ /was terminated by signal (11|6)/g), 0, 'no crash of our own');

done_testing();
