# Damaged pages: found, named, recorded; and reading on as configured.
use strict;
use warnings;

use EseClient;
use EseTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => "autovacuum = off\n");
my $data = $node->data_dir;
my $dbh = EseClient::connect_to(dsn($node));

$node->safe_psql('postgres', 'CREATE TABLE damaged AS SELECT i, repeat(md5(i::text), 10) FROM generate_series(1, 50000) i');
my $path = $node->safe_psql('postgres', "SELECT pg_relation_filepath('damaged')");
my $oid = $node->safe_psql('postgres', "SELECT oid FROM pg_database WHERE datname = 'postgres'");
my $filenode = $node->safe_psql('postgres', "SELECT relfilenode FROM pg_class WHERE relname = 'damaged'");
my $id = start_instance($node, 'main');
$node->safe_psql('postgres', 'CHECKPOINT');

# Change one byte in a block; returns what undoes it.
sub damage
{
	my ($block, $offset) = @_;
	my $position = $block * 8192 + ($offset // 5000);
	open(my $file, '+<:raw', "$data/$path") or die;
	seek($file, $position, 0);
	read($file, my $byte, 1);
	seek($file, $position, 0);
	print $file chr(ord($byte) ^ 1);
	close($file);
	return;
}

sub open_damaged { return ($dbh->selectrow_array("SELECT * FROM ese_open_file_instance($id, '$path')"))[0]; }

sub read_all
{
	my ($handle) = @_;
	my $bytes = 0;
	while (my $length = length(EseClient::value($dbh, "SELECT ese_read_file_instance($id, $handle)")))
	{
		$bytes += $length;
	}
	return $bytes;
}

sub begin { return $dbh->do("SELECT ese_begin_external_backup_instance($id)"); }
sub finish { return EseClient::value($dbh, "SELECT ese_end_external_backup_instance($id)"); }

# ---- error: the read fails, the file is closed, the backup stays open
damage(100);
begin();
my $handle = open_damaged();
ok(!eval { read_all($handle); 1 }, 'reading a damaged page fails');
is($dbh->state, 'J1018', 'with J1018');
like($dbh->errstr, qr/block 100 of file "\Q$path\E".*Relation file number $filenode, fork main/s, 'naming file, relation and block');
wait_for($node, 'SELECT open_files = 0 FROM ese_backup_progress');
fails_with($dbh, 'J1003', "SELECT ese_read_file_instance($id, $handle)", 'the handle is closed');
fails_with($dbh, 'J1003', "SELECT ese_close_file_instance($id, $handle)", 'it need not be closed');
is($node->safe_psql('postgres', "SELECT instance_id, database_oid, relfilenode, fork, file_name, block FROM ese_checksum_failure"),
	"$id|$oid|$filenode|main|$path|100", 'the failure is recorded');
is($node->safe_psql('postgres', 'SELECT checksum_failures, phase, stop_requested FROM ese_backup_progress'), '1|databases|f',
	'the backup goes on');
$node->safe_psql('postgres', 'SELECT pg_stat_force_next_flush()');
wait_for($node, "SELECT checksum_failures > 0 FROM pg_stat_database WHERE datname = 'postgres'");
pass('pg_stat_database counts it');
is(finish(), -1018, 'End says -1018');
is($node->safe_psql('postgres', 'SELECT status, error_name, checksum_failures FROM ese_backup_history ORDER BY backup_id DESC LIMIT 1'),
	'failed|JET_errReadVerifyFailure|1', 'and so does the history');
nothing_held($node, 'after a failed file');

# ---- a file that has failed may be read again; then the backup is good
begin();
ok(!eval { read_all(open_damaged()); 1 }, 'it fails again');
damage(100);
wait_for($node, 'SELECT open_files = 0 FROM ese_backup_progress');
$handle = open_damaged();
ok(read_all($handle) > 8192 * 100, 'once repaired it is read');
EseClient::value($dbh, "SELECT ese_close_file_instance($id, $handle)");
my $directory = PostgreSQL::Test::Utils::tempdir() . '/backup';
EseClient::read_files(dsn($node), $id, $directory, 1, EseClient::list_attached($dbh, $id, $directory));
my $logs = $dbh->selectcol_arrayref("SELECT file_name FROM ese_get_log_info_instance($id)");
EseClient::read_files(dsn($node), $id, $directory, 1, @$logs);
is(finish(), 0, 'and the backup is good');
command_ok([ 'pg_verifybackup', $directory ], 'pg_verifybackup');

# ---- report: delivered, logged, listed, and the backup is a success
$node->safe_psql('postgres', "SELECT ese_set_system_parameter($id, 'verify_checksums', 'report')");
damage($_) for (7, 8, 300);
my $offset = -s $node->logfile;
my $report = EseClient::backup(dsn($node), $id, PostgreSQL::Test::Utils::tempdir() . '/backup', sessions => 2);
is($node->safe_psql('postgres', "SELECT array_agg(block ORDER BY block) FROM ese_checksum_failure WHERE backup_id = $report"),
	'{7,8,300}', 'report: the failures are listed');
is($node->safe_psql('postgres', "SELECT status, checksum_failures FROM ese_backup_history WHERE backup_id = $report"),
	'completed|3', 'and the backup is a success');
like(slurp_file($node->logfile, $offset), qr/page verification failed in block 300 of file "\Q$path\E"/, 'the log names them');

# ---- off
$node->safe_psql('postgres', "SELECT ese_set_system_parameter($id, 'verify_checksums', 'off')");
my $off = EseClient::backup(dsn($node), $id, PostgreSQL::Test::Utils::tempdir() . '/backup');
is($node->safe_psql('postgres', "SELECT checksum_failures FROM ese_backup_history WHERE backup_id = $off"), 0, 'off: nothing is looked for');
$node->safe_psql('postgres', "SELECT ese_set_system_parameter($id, 'verify_checksums', 'default')");
damage($_) for (7, 8, 300);

# ---- an LSN of the future, and a new page that is not empty
damage(200, 1);
begin();
ok(!eval { read_all(open_damaged()); 1 } && $dbh->state eq 'J1018', 'a page with an LSN beyond the end of WAL is damaged');
finish();
damage(200, 1);
open(my $file, '+<:raw', "$data/$path") or die;
seek($file, 200 * 8192, 0);
read($file, my $page, 8192);
seek($file, 200 * 8192 + 14, 0);
print $file "\0\0";
close($file);
begin();
ok(!eval { read_all(open_damaged()); 1 } && $dbh->state eq 'J1018', 'a new page that is not empty is damaged');
finish();
open($file, '+<:raw', "$data/$path") or die;
seek($file, 200 * 8192, 0);
print $file "\0" x 8192;
close($file);
begin();
ok(eval { read_all(open_damaged()); 1 }, 'a new, empty page is not');
finish();
open($file, '+<:raw', "$data/$path") or die;
seek($file, 200 * 8192, 0);
print $file $page;
close($file);

# ---- other checksums in the manifest
for my $kind (qw(sha256 none))
{
	$node->safe_psql('postgres', "SELECT ese_set_system_parameter($id, 'manifest_checksums', '$kind')");
	for my $way (grep { $_->{name} =~ /^(by files|by streams|native|native, tar, lz4)$/ } @WAYS)
	{
		my $name = "manifest_checksums = $kind, $way->{name}";
		my $copy = PostgreSQL::Test::Utils::tempdir() . '/backup';
		take_backup($way, $node, $id, $copy);
		command_ok([ 'pg_verifybackup', $copy ], "$name: pg_verifybackup");
		my $manifest = slurp_file("$copy/backup_manifest");
		ok($kind eq 'none' ? $manifest !~ /Checksum-Algorithm/ : $manifest =~ /"Checksum-Algorithm": "SHA256"/, "$name: as asked for");
	}
}
nothing_held($node, 'in the end');

done_testing();
