# A full backup of a busy cluster: what it contains, and that it restores.
use strict;
use warnings;

use EseClient;
use EseTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => "wal_level = replica\narchive_mode = off\n");
my $data = $node->data_dir;
my $space = PostgreSQL::Test::Utils::tempdir();

$node->command_ok([ 'pgbench', '-i', '-s', '5', '-q', 'postgres' ], 'pgbench data');
$node->safe_psql('postgres', "CREATE TABLESPACE more LOCATION '$space'");
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE there (a int, b text) TABLESPACE more;
CREATE INDEX ON there (a) TABLESPACE more;
INSERT INTO there SELECT i, repeat('x', 100) FROM generate_series(1, 20000) i;
CREATE UNLOGGED TABLE unlogged AS SELECT generate_series(1, 1000) AS a;
CREATE TABLE empty (a int);
SQL
append_to_file("$data/a file with 'quotes'\nand a line break", 'odd');
append_to_file("$data/caf\xe9", 'not UTF-8');
mkdir "$data/an_empty_directory";

my $temporary = $node->background_psql('postgres');
$temporary->query_safe('CREATE TEMP TABLE temporary AS SELECT generate_series(1, 1000) AS a');
my $temporary_path = $temporary->query_safe("SELECT pg_relation_filepath('temporary')");
my $unlogged_path = $node->safe_psql('postgres', "SELECT pg_relation_filepath('unlogged')");

my $id = start_instance($node, 'main', backup_threads => 2);

# ---- every way to take it gives the same
for my $way (@WAYS)
{
	my $name = $way->{name};
	my $backup = PostgreSQL::Test::Utils::tempdir() . '/backup';
	my $pgbench = IPC::Run::start(
		[ 'pgbench', '-n', '-c', '4', '-T', '120', $node->connstr('postgres') ],
		'>', '/dev/null', '2>', '/dev/null');
	my $number = take_backup($way, $node, $id, $backup,
		label => 'a "full" backup',
		listed => sub {
			my ($dbh) = @_;
			like(EseClient::value($dbh, "SELECT backend_type || ': ' || application_name || ': ' || query
				FROM pg_stat_activity WHERE backend_type = 'ese instance'"),
				qr/^ese instance: main: backup \d+: databases$/, "$name: the worker is in pg_stat_activity");
		},
		between => sub {
			my ($dbh) = @_;
			# the cluster goes on changing between the phases
			$dbh->do('UPDATE there SET b = left(b, 100) || a WHERE a % 10 = 0');
			$dbh->do('VACUUM FULL there');
			my $row = $dbh->selectrow_hashref('SELECT * FROM ese_backup_progress');
			is($row->{files_done}, $row->{files_total}, "$name: all files are done");
			is($row->{bytes_done}, $row->{bytes_total}, "$name: and all bytes");
			is($row->{phase}, 'databases', "$name: still in the databases phase");
		});
	$pgbench->signal('INT');
	$pgbench->finish;
	check_directory($name, $backup);
	check_restored($name, $backup);
	is($node->safe_psql('postgres', "SELECT status, error_number, kind, label, stop_lsn > start_lsn, ended_at > started_at, wal_bytes > 0, checksum_failures
		FROM ese_backup_history WHERE backup_id = $number"),
		qq(completed|0|full|a "full" backup|t|t|t|0), "$name: the history says so");
	nothing_held($node, "$name: nothing is held afterwards");
}
is($node->safe_psql('postgres', 'SELECT last_full_at IS NOT NULL FROM ese_instance'), 't', 'ese_instance too');
$temporary->quit;

# What lies in a backup, and what does not.
sub check_directory
{
	my ($name, $backup) = @_;
	ok(!-e "$backup/postmaster.pid", "$name: postmaster.pid is left out");
	ok(!-e "$backup/$temporary_path", "$name: temporary relations are left out");
	ok(!-e "$backup/$unlogged_path", "$name: unlogged relations are left out");
	ok(-e "$backup/${unlogged_path}_init", "$name: but for their init forks");
	is(scalar(grep { !m{/pg_tblspc/} } map { glob("'$backup/$_'/*") } qw(pg_replslot pg_dynshmem pg_notify pg_serial pg_snapshots pg_subtrans pg_stat_tmp ese)),
		0, "$name: nothing of the directories that are emptied");
	ok(-d "$backup/$_", "$name: directory $_ is there")
	  for qw(pg_replslot pg_notify pg_wal/archive_status ese an_empty_directory pg_tblspc);
	is(slurp_file("$backup/a file with 'quotes'\nand a line break"), 'odd', "$name: an odd name is read");
	is(slurp_file("$backup/caf\xe9"), 'not UTF-8', "$name: and one that is not valid text");
	ok(!-e "$backup/tablespace_map", "$name: there is no tablespace_map");
	like(slurp_file("$backup/tablespace_map.original"), qr/^\d+ \Q$space\E\n$/, "$name: but the original one");
	like(slurp_file("$backup/backup_label"), qr/^START WAL LOCATION.*\nCHECKPOINT LOCATION.*\nBACKUP METHOD: streamed\nBACKUP FROM: primary\nSTART TIME: .*\nLABEL: a "full" backup\nSTART TIMELINE: 1\n$/,
		"$name: backup_label is byte-exact");
	is(-s "$backup/global/pg_control", 8192, "$name: pg_control is complete");
	is(scalar(() = glob("$backup/pg_wal/archive_status/*.done")),
		scalar(grep { m{/[0-9A-F]{24}$} } glob("$backup/pg_wal/*")), "$name: every segment is marked as archived");
	return;
}

# A server that is started on it.
sub check_restored
{
	my ($name, $backup) = @_;
	my $restored = restore_and_check($node, 'restored_' . $name =~ s/\W+/_/gr, $backup);
	is_good_restore($restored, $name);
	is($restored->safe_psql('postgres', 'SELECT count(*), sum(a) FROM there'), '20000|200010000',
		"$name: the tablespace is there");
	is($restored->safe_psql('postgres', 'SELECT count(*) FROM unlogged'), '0', "$name: unlogged tables are empty");
	is($restored->safe_psql('postgres', 'SELECT count(*) FROM ese_instance'), '0',
		"$name: instances do not travel with a backup");
	is(readlink($restored->data_dir . '/pg_tblspc/' . (glob("$backup/pg_tblspc/*"))[0] =~ s{.*/}{}r), undef,
		"$name: the restored server uses its own copy of the tablespace");
	$restored->stop;
	return;
}

# ---- what the list says
$node->safe_psql('postgres', "SELECT ese_begin_external_backup_instance($id)");
my %listed = map { $_ => 1 } split(/\n/, $node->safe_psql('postgres', "SELECT replace(file_name, E'\\n', ' ') FROM ese_get_attach_info_instance($id)"));
ok(!$listed{'global/pg_control'}, 'pg_control is not in the attach list');
ok($listed{"E'caf\\xe9'"}, 'a name that is not valid text is shown escaped');
$node->safe_psql('postgres', "SELECT ese_end_external_backup_instance($id, 2)");

# a standby: its restartpoint is the start, and it has no backup end record
$node->safe_psql('postgres', 'DROP TABLE there');
$node->safe_psql('postgres', 'DROP TABLESPACE more');
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->safe_psql('postgres', 'CHECKPOINT');
$node->wait_for_catchup($standby);
$standby->safe_psql('postgres', 'CHECKPOINT');
my $other = start_instance($standby, 'standby');
for my $way (grep { $_->{name} =~ /^(by files|by streams|native)$/ } @WAYS)
{
	my $name = "$way->{name} from a standby";
	my $from_standby = PostgreSQL::Test::Utils::tempdir() . '/backup';
	take_backup($way, $standby, $other, $from_standby);
	ok(!-e "$from_standby/standby.signal", "$name: standby.signal is left out");
	my $restored = restore_and_check($standby, $name =~ s/\W+/_/gr, $from_standby, conf => "primary_conninfo = ''\n");
	is_good_restore($restored, $name);
	$restored->stop;
}

# promotion in the middle ends the backup
my $dbh = EseClient::connect_to(dsn($standby));
$dbh->do("SELECT ese_begin_external_backup_instance($other)");
$standby->promote;
wait_for($standby, "SELECT stop_requested FROM ese_backup_progress");
fails_with($dbh, 'J0801', "SELECT ese_get_attach_info_instance($other)", 'promotion stops a backup');
is($standby->safe_psql('postgres', 'SELECT stop_cause, status FROM ese_backup_history ORDER BY backup_id DESC LIMIT 1'),
	'promotion|stopped', 'and the history says why');
is(EseClient::value($dbh, "SELECT ese_end_external_backup_instance($other)"), -801, 'End');
nothing_held($standby, 'nothing is held after a promotion');

done_testing();
