# The main job on a throw-away cluster: back up a busy cluster over SQL, start
# PostgreSQL on the backup, and stop another backup in the middle.
use strict;
use warnings;

use EseClient;
use File::Temp ();
use IO::Socket::INET;
use POSIX ();
use Time::HiRes qw(time);

my $bin = `pg_config --bindir`;
chomp($bin);
$ENV{PATH} = "$bin:$ENV{PATH}";
my $home = File::Temp->newdir('/tmp/ese_demo.XXXXXX');
chmod(0700, "$home");
my $port = free_port();
my $restored_port = free_port();
my $latest_port = free_port();
my $dsn = "host=$home;port=$port;dbname=postgres";
my @clusters;
my $pgbench;

sub free_port
{
	my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', LocalPort => 0);
	my $number = $socket->sockport;
	close($socket);
	return $number;
}

sub say_step { print "\n== $_[0]\n"; return; }

# Run a command quietly; show what it printed when it fails.
sub run
{
	my @command = @_;
	my $output = `@command 2>&1`;
	die "@command:\n$output" if $? != 0;
	return $output;
}

# Run and show SQL, as psql does.
sub psql
{
	my ($sql, %options) = @_;
	my $at = $options{port} // $port;
	print "$_\n" for map { "postgres=# $_" } split(/\n/, $sql);
	open(my $psql, '|-', "psql -X -q -h $home -p $at -d postgres" . ($options{expanded} ? ' -x' : '')) or die;
	print $psql $sql;
	close($psql);
	return;
}

sub start_cluster
{
	my ($directory, $at, $settings) = @_;
	open(my $conf, '>>', "$directory/postgresql.conf") or die;
	print $conf "port = $at\nlisten_addresses = ''\nunix_socket_directories = '$home'\n$settings";
	close($conf);
	push @clusters, $directory;
	run("pg_ctl -w -D $directory -l $directory.log start");
	return;
}

END
{
	my $status = $?;
	kill('INT', $pgbench) if $pgbench;
	system("pg_ctl -D $_ -m immediate stop > /dev/null 2>&1") for @clusters;
	$? = $status;
}

say_step('A throw-away cluster with two tablespaces, and pgbench running on it');
run("initdb --data-checksums --no-sync -A trust -D $home/data");
start_cluster("$home/data", $port, "shared_preload_libraries = 'ese'\nfsync = off\n");
mkdir("$home/space");
my $dbh = EseClient::connect_to($dsn);
$dbh->do("CREATE TABLESPACE space LOCATION '$home/space'");
run("pgbench -h $home -p $port -i -s 10 -q --index-tablespace=space postgres");
$pgbench = fork() // die "fork: $!";
if ($pgbench == 0)
{
	open(STDOUT, '>', '/dev/null');
	open(STDERR, '>', '/dev/null');
	exec("pgbench -h $home -p $port -n -c 4 -T 600 postgres");
}
print "pgbench is running.\n";

say_step('An instance');
psql(<<'SQL');
CREATE EXTENSION ese;
SELECT ese_create_instance('main');
SELECT ese_set_system_parameter(ese_instance_id('main'), 'circular_log', 'off');
SELECT ese_init(ese_instance_id('main'));
SQL

say_step('A full backup, read over SQL by two sessions');
my $begun = time();
my $transactions = sub { EseClient::value($_[0], "SELECT xact_commit FROM pg_stat_database WHERE datname = 'postgres'") };
my $before = $transactions->($dbh);
my $backup = EseClient::backup($dsn, 1, "$home/backup", sessions => 2, label => 'demo');
printf "Read in %.1f s; pgbench committed %d transactions meanwhile.\n", time() - $begun, $transactions->($dbh) - $before;
psql(<<'SQL', expanded => 1);
SELECT backup_id, label, kind, status, error_number, start_lsn, stop_lsn, files, bytes, wal_bytes FROM ese_backup_history;
SQL

say_step('pg_verifybackup');
print run("pg_verifybackup $home/backup");

# What pgbench promises, and the structure of tables and indexes.
sub check_restored
{
	my ($at) = @_;
	psql(<<'SQL', port => $at);
SELECT (SELECT sum(abalance) FROM pgbench_accounts) AS accounts, (SELECT sum(bbalance) FROM pgbench_branches) AS branches, (SELECT sum(tbalance) FROM pgbench_tellers) AS tellers, (SELECT sum(delta) FROM pgbench_history) AS history;
CREATE EXTENSION amcheck;
SQL
	my $sums = `psql -X -At -h $home -p $at -d postgres -c "SELECT count(DISTINCT s) FROM (SELECT sum(abalance) AS s FROM pgbench_accounts UNION ALL SELECT sum(bbalance) FROM pgbench_branches UNION ALL SELECT sum(tbalance) FROM pgbench_tellers UNION ALL SELECT sum(delta) FROM pgbench_history) x"`;
	die "the sums differ\n" if $sums != 1;
	print "The sums are equal.\n";
	run("pg_amcheck -h $home -p $at --heapallindexed -d postgres");
	print "pg_amcheck found nothing.\n";
	return;
}

say_step('PostgreSQL started on the backup, on its own copy of the tablespace');
start_cluster("$home/backup", $restored_port, "allow_in_place_tablespaces = on\n");
check_restored($restored_port);

say_step('A backup written by the server: archives, compressed by all threads');
psql(<<"SQL");
SELECT ese_set_system_parameter(1, 'backup_format', 'tar'), ese_set_system_parameter(1, 'backup_compression', 'zstd:1');
SELECT ese_backup_instance(1, '$home/archives', label => 'archives');
SQL
print run("ls -l $home/archives");
mkdir("$home/extracted", 0700);
run("for archive in $home/archives/*.tar*; do tar -C $home/extracted --zstd -xf \$archive || exit 1; done");
print run("pg_verifybackup $home/extracted");

say_step('An incremental backup: the logs since then');
psql(<<"SQL");
CREATE TABLE marker AS SELECT 'after the full backup' AS written;
SELECT ese_backup_instance(1, '$home/archives', ese_grbit('JET_bitBackupIncremental'));
SELECT backup_id, kind, status, files, wal_bytes FROM ese_backup_history ORDER BY backup_id;
SQL
print run("ls -l $home/archives");

say_step('Both restored by the server, to the latest state, and verified on the way');
psql(<<"SQL");
SELECT ese_restore_instance(1, '$home/archives', '$home/latest');
SELECT backup_id, kind, status, ended_at - started_at AS duration, files, bytes FROM ese_backup_history ORDER BY backup_id DESC LIMIT 1;
SQL
print run("ls -l $home/latest/pg_tblspc");
start_cluster("$home/latest", $latest_port, '');
check_restored($latest_port);
psql("SELECT * FROM marker;\n", port => $latest_port);
die "the marker is missing\n" if `psql -X -At -h $home -p $latest_port -d postgres -c "SELECT count(*) FROM marker"` != 1;

say_step('Another one, stopped: nothing is left of it');
psql(<<"SQL");
SELECT ese_set_system_parameter(1, 'backup_max_rate', '20MB');
SELECT ese_backup_instance(1, '$home/stopped', wait => false);
SELECT pg_sleep(1);
SELECT phase, bytes_total, bytes_done, files_total, files_done FROM ese_backup_progress;
SELECT ese_stop_backup_instance(1);
CALL ese_wait_backup(1);
SQL
die "something is left\n" if -e "$home/stopped";
$dbh->do("SELECT ese_set_system_parameter(1, 'backup_max_rate', 'default')");

say_step('One that is read over SQL, stopped while it is read');
my $reader = EseClient::connect_to($dsn);
$reader->do("SELECT ese_begin_external_backup_instance(1, 0, 'to be stopped')");
my ($name) = $reader->selectrow_array("SELECT file_name FROM ese_get_attach_info_instance(1) ORDER BY file_size DESC LIMIT 1");
my ($handle) = $reader->selectrow_array("SELECT * FROM ese_open_file_instance(1, '$name')");
my $bytes = 0;
for (1 .. 100)
{
	my $piece = eval { EseClient::value($reader, "SELECT ese_read_file_instance(1, $handle)") };
	if (!defined $piece)
	{
		print "after $bytes bytes the reader of $name got\n" . $reader->errstr . "\n(SQLSTATE " . $reader->state . ")\n";
		last;
	}
	$bytes += length($piece);
	psql('SELECT ese_stop_backup_instance(1);') if $_ == 20;
}
die "the reader was not stopped\n" if $reader->state ne 'J0801';
psql(<<'SQL');
SELECT ese_end_external_backup_instance(1);
SQL
print "The receipt:\n";
psql(<<'SQL', expanded => 1);
SELECT backup_id, label, status, stop_cause, error_number, error_name, stop_requested_by, stop_requested_at, quiescent_at, stop_latency FROM ese_backup_history ORDER BY backup_id DESC LIMIT 1;
SQL
print "\nDone.\n";
