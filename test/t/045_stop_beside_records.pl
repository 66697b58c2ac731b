# A stop while the worker itself writes a record: it waits for threads and
# backup mode, not for the disk under ese/, nor for who else writes there.
use strict;
use warnings;

use EseClient;
use EseTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $work = PostgreSQL::Test::Utils::tempdir();
my $disk = "$work/disk";
$ENV{ESE_TEST_DISK} = $disk;
my $library = build_preload('disk');
my $node = do { local $ENV{LD_PRELOAD} = $library; new_node('main', conf => "autovacuum = off\nfsync = on\n") };
my $data = $node->data_dir;
append_to_file("$data/noise", 'x' x (16 * 1024 * 1024));
$node->safe_psql('postgres', 'CREATE TABLE damaged AS SELECT i, repeat(md5(i::text), 10) FROM generate_series(1, 20000) i');
my $path = $node->safe_psql('postgres', "SELECT pg_relation_filepath('damaged')");
$node->safe_psql('postgres', 'CHECKPOINT');
open(my $file, '+<', "$data/$path") or die $!;
for my $block (100 .. 102)
{
	seek($file, $block * 8192 + 4000, 0);
	print $file 'damage';
}
close($file);

my $id = start_instance($node, 'main', verify_checksums => 'report', backup_threads => 2);
my $other = start_instance($node, 'other');

sub session
{
	my $dbh = EseClient::connect_to(dsn($node));
	$dbh->do("SET statement_timeout = '20s'");
	$dbh->do("SET client_min_messages = error");
	return $dbh;
}
my $dbh = session();
my $stopper = session();
sub value { return EseClient::value($dbh, @_); }
sub start
{
	my ($sql) = @_;
	my $session = session();
	$session->do($sql, { pg_async => 1 });
	return $session;
}
sub begin { return value("SELECT ese_begin_external_backup_instance($id)"); }
sub open_file { return value("SELECT handle FROM ese_open_file_instance($id, '$_[0]')"); }

# Have such a call on such a file wait; a stop beside it; then let it go.
sub stop_beside
{
	my ($order, $name, $statement) = @_;

	append_to_file($disk, $order);
	my $beside = $statement->();
	usleep(1000) until -e "$disk.waiting";
	my $begun = time();
	$stopper->do("SET statement_timeout = '2s'");
	is(eval { EseClient::value($stopper, "SELECT ese_stop_backup_instance($id)") }, 0, "$name: stop");
	cmp_ok(time() - $begun, '<', 2, "$name: at once");
	ok(-e "$disk.waiting", "$name: and the disk still waits");
	is($node->safe_psql('postgres', "SELECT count(*) FROM ese_backup_history WHERE instance_id = $id AND status = 'stopped' AND quiescent_at IS NOT NULL"), 1, "$name: the receipt is there");
	unlink($disk);
	usleep(20000);
	unlink("$disk.waiting");
	eval { $beside->pg_result } if ref $beside;
	return;
}
sub end
{
	my ($name) = @_;
	is(value("SELECT ese_end_external_backup_instance($id)"), -801, "$name: End");
	like(last_row($node, 'status, reason'), qr/^aborted by server\|role .* has stopped it$/, "$name: the history says so");
	nothing_held($node, $name);
	return;
}

# ---- the numbers of handles, with the first Open
begin();
stop_beside('fsync 0 handles', 'Open', sub { return start("SELECT * FROM ese_open_file_instance($id, 'noise')"); });
end('Open');

# ---- damaged pages, while a thread reads another file
begin();
my $noise = open_file('noise');
my $handle = open_file($path);
stop_beside('fsync 0 checksum_failures', 'damaged pages', sub {
	return start("SELECT length(ese_read_file_instance($id, $handle))"); });
ok(!eval { value("SELECT ese_read_file_instance($id, $noise)"); 1 }, 'damaged pages: no read succeeds');
is($dbh->state, 'J0801', 'damaged pages: but says that the backup is stopped');
end('damaged pages');
cmp_ok($node->safe_psql('postgres', "SELECT count(*) FROM ese_checksum_failure WHERE instance_id = $id"), '>=', 1, 'what was found before it is on record');

# ---- in a native backup
stop_beside('rename 0 checksum_failures', 'native', sub {
	value("SELECT ese_backup_instance($id, '$work/native', wait => false)"); return; });
wait_for($node, 'SELECT count(*) = 0 FROM ese_backup_progress');
like(last_row($node, 'status, reason'), qr/^aborted by server\|role .* has stopped it$/, 'native: the history says so');
ok(!-e "$work/native/backup_manifest", 'native: nothing is left that looks like a backup');

# ---- the row of a native backup that is complete, before it is published
for my $grbit ('0', q{ese_grbit('JET_bitBackupAtomic')})
{
	value("SELECT ese_set_system_parameter($id, 'verify_checksums', 'off')") if $grbit eq '0';
	value("SELECT ese_backup_instance($id, '$work/row', $grbit, wait => false)");
	# Begin has written its row; the next one comes when the files are there
	stop_beside("rename 0 history.$id", "row, $grbit", sub { return; });
	wait_for($node, 'SELECT count(*) = 0 FROM ese_backup_progress');
	like(last_row($node, 'status, reason'), qr/^aborted by server\|role .* has stopped it$/, "row, $grbit: the history says so");
	ok(!-e "$work/row/backup_manifest" && !-e "$work/row/new", "row, $grbit: nothing is published");
}

nothing_held($node, 'in the end');

done_testing();
