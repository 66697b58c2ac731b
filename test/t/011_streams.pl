# Streams: a parallel backup by two psql processes; broken, abandoned and
# stopped streams.
use strict;
use warnings;

use EseClient;
use EseTest;
use File::Compare qw(compare);
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => "autovacuum = off\nfull_page_writes = off\nmax_connections = 40\n");
my $data = $node->data_dir;
$node->command_ok([ 'pgbench', '-i', '-s', '5', '-q', 'postgres' ], 'pgbench data');
my $space = PostgreSQL::Test::Utils::tempdir();
$node->safe_psql('postgres', "CREATE TABLESPACE more LOCATION '$space'");
$node->safe_psql('postgres', 'CREATE TABLE there TABLESPACE more AS SELECT generate_series(1, 10000) AS a');
append_to_file("$data/" . 'n' x 150, 'a long name');
my $id = start_instance($node, 'main', backup_threads => 2, max_open_files => 20);
my $dbh = EseClient::connect_to(dsn($node));
my $other = EseClient::connect_to(dsn($node));

sub begin { return $dbh->do("SELECT ese_begin_external_backup_instance($id)"); }
sub finish { return EseClient::value($dbh, "SELECT ese_end_external_backup_instance($id)"); }
sub open_stream { return EseClient::value($dbh, "SELECT ese_open_stream_instance($id)"); }
sub close_handle { return EseClient::value($dbh, "SELECT ese_close_file_instance($id, $_[0])"); }
sub progress { return $node->safe_psql('postgres', 'SELECT files_in_streams, files_unassigned, files_done = files_total FROM ese_backup_progress'); }

# At most so many rows of a stream, as bytes.
sub read_rows
{
	my ($handle, $rows) = @_;
	my $limit = defined $rows ? "LIMIT $rows" : '';
	return join('', @{ $other->selectcol_arrayref("SELECT ese_read_stream_instance($id, $handle) $limit") });
}

sub append_binary
{
	my ($path, $bytes) = @_;
	open(my $file, '>>:raw', $path) or die;
	print $file $bytes;
	close($file);
	return;
}

sub untar
{
	my ($directory, @archives) = @_;
	mkdir($directory, 0700);
	system_or_bail('tar', '-C', $directory, '-xf', $_) for @archives;
	return;
}

# ---- the README's four lines
my ($lines) = slurp_file('README.md') =~ /<!-- parallel -->\n```sh\n(.*?)```/s;
ok($lines, 'the README has a script');
my $work = PostgreSQL::Test::Utils::tempdir();
{
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	local $ENV{PGDATABASE} = 'postgres';
	my ($out, $err) = ('', '');
	my $ok = IPC::Run::run([ 'bash', '-c', "cd $work\n$lines" ], '>', \$out, '2>', \$err);
	ok($ok, 'it runs') or diag("$out\n$err");
	is($out, "0\n", 'it prints 0');
	is($err, '', 'without a word of complaint');
}
my $restored = restore_and_check($node, 'restored', "$work/backup");
is_good_restore($restored, 'by two psql processes');
is($restored->safe_psql('postgres', 'SELECT count(*) FROM there'), '10000', 'the tablespace is there');
$restored->stop;
is(slurp_file("$work/backup/" . 'n' x 150), 'a long name', 'a long name');
is($node->safe_psql('postgres', 'SELECT status FROM ese_backup_history ORDER BY backup_id DESC LIMIT 1'), 'completed', 'the backup is good');
nothing_held($node, 'streams');

# ---- contents, file by file, of a quiescent cluster
begin();
my $handle = open_stream();
my $tar = "$work/one.tar";
append_binary($tar, read_rows($handle));
wait_for($node, 'SELECT files_in_streams > 900 AND files_unassigned = 0 AND files_done = 0 FROM ese_backup_progress');
pass('all files are in the stream');
close_handle($handle);
is(progress(), '0|0|t', 'and count when it is closed');
untar("$work/one", $tar);
my @different;
for my $row (@{ $dbh->selectall_arrayref("SELECT file_name, kind FROM ese_get_attach_info_instance($id)") })
{
	my ($name, $kind) = @$row;
	if ($kind eq 'directory') { push @different, $name if !-d "$work/one/$name"; }
	elsif (compare("$data/$name", "$work/one/$name") != 0) { push @different, $name; }
}
is("@different", '', 'every file and directory is as in the data directory');
fails_with($dbh, 'J0521', "SELECT ese_open_file_instance($id, 'PG_VERSION')", 'after a stream no file can be opened in this phase');
$dbh->do("SELECT ese_get_log_info_instance($id)");
is(error_of($dbh, "SELECT ese_open_file_instance($id, 'backup_label')"), '00000', 'but in the next one');
fails_with($dbh, 'J0521', "SELECT ese_open_stream_instance($id)", 'where then no stream can');
$dbh->do("SELECT ese_end_external_backup_instance($id, 2)");

# ---- refusals
begin();
$handle = open_stream();
like(fails_with($dbh, '0A000', "SELECT * FROM ese_read_stream_instance($id, $handle)", 'in FROM'), qr/HINT:  Call it in the SELECT list/, 'a hint');
fails_with($dbh, 'J1003', "SELECT ese_read_file_instance($id, $handle)", 'a stream is no file');
fails_with($dbh, 'J1003', "SELECT ese_read_stream_instance($id, $handle, 100)", 'a bad size');
fails_with($dbh, 'J1003', "SELECT ese_read_stream_instance($id, 1)", 'a bad handle');
$dbh->begin_work;
fails_with($dbh, '0A000', "CALL ese_copy_stream($id, $handle)", 'CALL in a transaction block');
$dbh->rollback;
fails_with($dbh, 'J1003', "SELECT ese_resume_stream_instance($id, $handle, $_)") for ('NULL', '-1', '1');
is(length(read_rows($handle, 1)) > 0, 1, 'the stream is still good');

# ---- a broken stream, continued at a member boundary
my $part = "$work/part.tar";
append_binary($part, EseClient::value($other, "SELECT ese_read_stream_instance($id, $handle, 8192) LIMIT 1"));
close_handle($handle);
is($node->safe_psql('postgres', 'SELECT files_done, files_in_streams, files_unassigned > 900 FROM ese_backup_progress'), '0|0|t',
	'a stream closed before its end counts for nothing');
unlink($part);
$handle = open_stream();
append_binary($part, read_rows($handle, 40));
my $received = (-s $part) - 12345;
my ($new, $keep) = $other->selectrow_array("SELECT * FROM ese_resume_stream_instance($id, $handle, $received)");
ok($keep > 0 && $keep <= $received, "of $received bytes $keep are kept");
fails_with($dbh, 'J1003', "SELECT ese_read_stream_instance($id, $handle)", 'the old handle is closed');
truncate($part, $keep);
append_binary($part, read_rows($new));
close_handle($new);
is(progress(), '0|0|t', 'all files are there');
$dbh->do("SELECT ese_get_log_info_instance($id)");
$handle = open_stream();
my $logs = "$work/logs.tar";
append_binary($logs, read_rows($handle));
like(`tar tf $logs`, qr{backup_manifest\npg_wal/ese_logs\.\d+\n$}, 'the manifests come last');
close_handle($handle);
is(finish(), 0, 'the backup is good');
untar("$work/resumed", $part, $logs);
$restored = restore_and_check($node, 'resumed', "$work/resumed");
is_good_restore($restored, 'a resumed stream');
$restored->stop;
nothing_held($node, 'a resumed stream');

# ---- a client that is gone after the last byte was sent has no receipt
begin();
$handle = open_stream();
read_rows($handle);
is($node->safe_psql('postgres', 'SELECT files_done FROM ese_backup_progress'), 0, 'a stream that was sent but not closed does not count');
$dbh->do("SELECT ese_end_external_backup_instance($id, 2)");

# ---- 16 streams on 2 threads, one of which is not read, one given up
begin();
my @handles = map { open_stream() } 1 .. 16;
my @pids;
for my $i (1 .. 15)
{
	my $pid = fork() // die;
	if ($pid == 0)
	{
		my $ok = eval {
			my $session = EseClient::connect_to(dsn($node));
			open(my $file, '>:raw', "$work/many$i.tar") or die;
			print $file $_->[0] for @{ $session->selectall_arrayref("SELECT ese_read_stream_instance($id, $handles[$i])") };
			close($file);
			EseClient::value($session, "SELECT ese_close_file_instance($id, $handles[$i])");
			1;
		};
		print STDERR $@ unless $ok;
		POSIX::_exit($ok ? 0 : 1);
	}
	push @pids, $pid;
}
is(scalar(grep { waitpid($_, 0); $? != 0 } @pids), 0, '15 of 16 streams finish although one is not read');
close_handle($handles[0]);
my $left = $node->safe_psql('postgres', 'SELECT files_unassigned FROM ese_backup_progress');
ok($left > 0, "what the unread one had taken is back in the queue: $left");
$handle = open_stream();
append_binary("$work/many16.tar", read_rows($handle));
close_handle($handle);
is(progress(), '0|0|t', 'one more stream carries that');
$dbh->do("SELECT ese_get_log_info_instance($id)");
$handle = open_stream();
append_binary("$work/many17.tar", read_rows($handle));
close_handle($handle);
is(finish(), 0, 'the backup is good');
untar("$work/many", map { "$work/many$_.tar" } 1 .. 17);
command_ok([ 'pg_verifybackup', "$work/many" ], '16 streams: pg_verifybackup');
nothing_held($node, '16 streams');

# ---- CALL: no snapshot while it sends; a stop ends it; the connection lives
begin();
$handle = open_stream();
my ($out, $err) = ('', '');
set_test_points($node, 'copy.frame=wait');
my $psql = IPC::Run::start(
	[ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', "CALL ese_copy_stream($id, $handle)", '-c', "SELECT 'still alive'" ],
	'<', '/dev/null', '>', \$out, '2>', \$err);
wait_for($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'CALL ese_copy_stream%' AND wait_event_type = 'Extension'");
is($node->safe_psql('postgres', "SELECT backend_xmin IS NULL FROM pg_stat_activity WHERE query LIKE 'CALL ese_copy_stream%'"), 't',
	'ese_copy_stream holds no snapshot');
EseClient::value($other, "SELECT ese_stop_backup_instance($id)");
set_test_points($node, '');
$psql->finish;
like($err, qr/was stopped by the server.*JET_errBackupAbortByServer/s, 'a stop ends it');
like($out, qr/still alive\n$/, 'and the connection goes on');
finish();

# ... and with a file's handle it sends the bare file
begin();
my $path = $node->safe_psql('postgres', "SELECT pg_relation_filepath('pgbench_accounts')");
($handle) = $dbh->selectrow_array("SELECT * FROM ese_open_file_instance($id, '$path')");
IPC::Run::run([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', "CALL ese_copy_stream($id, $handle)" ], '>', "$work/file");
is(system('cmp', '-s', "$work/file", "$data/$path"), 0, 'with the handle of a file it sends the file');
close_handle($handle);
is($node->safe_psql('postgres', 'SELECT files_done FROM ese_backup_progress'), 1, 'which then counts');
$dbh->do("SELECT ese_end_external_backup_instance($id, 2)");

# ---- what is gone is left out; a damaged page is delivered, and End says so
$node->safe_psql('postgres', 'CREATE TABLE leaving AS SELECT 1 AS a; CREATE TABLE damaged AS SELECT i, repeat(md5(i::text), 10) FROM generate_series(1, 5000) i');
my $leaving = $node->safe_psql('postgres', "SELECT pg_relation_filepath('leaving')");
my $damaged = $node->safe_psql('postgres', "SELECT pg_relation_filepath('damaged')");
$node->safe_psql('postgres', 'CHECKPOINT');
open(my $file, '+<:raw', "$data/$damaged") or die;
seek($file, 7 * 8192 + 5000, 0);
read($file, my $byte, 1);
seek($file, 7 * 8192 + 5000, 0);
print $file chr(ord($byte) ^ 1);
close($file);
for my $mode ('error', 'report')
{
	$node->safe_psql('postgres', "SELECT ese_set_system_parameter($id, 'verify_checksums', '$mode')");
	begin();
	$node->safe_psql('postgres', 'DROP TABLE IF EXISTS leaving; CHECKPOINT');
	$handle = open_stream();
	my $bytes = read_rows($handle);
	append_binary("$work/$mode.tar", $bytes);
	close_handle($handle);
	is(progress(), '0|0|t', "$mode: all files are done");
	my $names = `tar tf $work/$mode.tar`;
	ok($names !~ /^\Q$leaving\E$/m, 'what is gone is not in the stream') if $mode eq 'error';
	ok($names =~ /^\Q$damaged\E$/m, 'the damaged file is');
	$dbh->do("SELECT ese_get_log_info_instance($id)");
	$handle = open_stream();
	read_rows($handle);
	close_handle($handle);
	is(finish(), $mode eq 'error' ? -1018 : 0, "verify_checksums = $mode: End");
	is($node->safe_psql('postgres', 'SELECT file_name, block FROM ese_checksum_failure WHERE backup_id = (SELECT max(backup_id) FROM ese_backup_history)'),
		"$damaged|7", 'the page is listed');
}
nothing_held($node, 'in the end');

done_testing();
