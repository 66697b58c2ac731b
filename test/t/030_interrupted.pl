# Calls that are ended in the middle: what was delivered counts, and nothing
# else; what was not taken is taken again; nothing is kept from others.
use strict;
use warnings;

use DBD::Pg;
use Digest::SHA qw(sha256_hex);
use EseClient;
use EseTest;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => "autovacuum = off\nfsync = off\n");
my $data = $node->data_dir;
my $id = start_instance($node, 'main', manifest_checksums => 'sha256', backup_threads => 2);
my $dbh = EseClient::connect_to(dsn($node));
my $reader = EseClient::connect_to(dsn($node));
my $connection = $node->connstr('postgres');
my $large = 8 * 1024 * 1024;
my $size = 12 * 1024 * 1024 + 4321;
my (%noise, %copy);

# Files of noise: larger than twice the ring of a handle, which is 4 MiB.
for my $name (map { "noise$_" } 1 .. 9)
{
	open(my $random, '<:raw', '/dev/urandom') or die;
	read($random, $noise{$name}, $size) == $size or die;
	write_at($name, 0, $noise{$name});
}

sub write_at
{
	my ($name, $at, $bytes) = @_;
	open(my $file, -e "$data/$name" ? '+<:raw' : '>:raw', "$data/$name") or die;
	seek($file, $at, 0);
	print $file $bytes;
	close($file) or die;
	substr($noise{$name}, $at, length($bytes)) = $bytes;
	return;
}

sub open_file
{
	my ($name, $offset) = @_;
	return ($dbh->selectrow_array('SELECT * FROM ese_open_file_instance(?, ?, ?)', undef, $id, $name, $offset // 0))[0];
}

sub close_handle { return EseClient::value($dbh, 'SELECT ese_close_file_instance(?, ?)', $id, @_); }

sub piece { return EseClient::value($reader, 'SELECT ese_read_file_instance(?, ?, ?, ?)', $id, @_); }

# What a client does with a piece: it has so many bytes now.
sub keep
{
	my ($name, $at, $bytes) = @_;
	$copy{$name} = substr($copy{$name} // '', 0, $at) . $bytes;
	return length($bytes);
}

sub read_rest
{
	my ($name, $handle) = @_;
	1 while keep($name, length($copy{$name}), piece($handle, 1048576, length($copy{$name})));
	return;
}

# Run a statement in the reading session, which waits at a point; then what
# ends it.  Returns its SQLSTATE.
sub interrupt
{
	my ($point, $sql, $end) = @_;
	my $pid = $reader->{pg_pid};
	$reader->do("SET ese.test_points = '$point=wait'");
	$reader->do($sql, { pg_async => DBD::Pg::PG_ASYNC });
	wait_for($node, "SELECT wait_event_type = 'Extension' AND state = 'active' FROM pg_stat_activity WHERE pid = $pid");
	$dbh->do("SELECT $end($pid)");
	my $ended = eval { $reader->pg_result; 1 };
	my $state = $ended ? '00000' : $reader->state;
	if ($end eq 'pg_terminate_backend')
	{
		wait_for($node, "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
		$reader = EseClient::connect_to(dsn($node));
	}
	else
	{
		$reader->do('RESET ese.test_points');
	}
	return $state;
}

# A piece of so many bytes that does not come to its end.
sub broken_piece
{
	my ($point, $handle, $bytes, $at, $end) = @_;
	my $state = interrupt($point, "SELECT ese_read_file_instance($id, $handle, $bytes, $at)", $end // 'pg_cancel_backend');
	# of a session that is gone the driver knows only that it is gone
	is($state, $end ? '08000' : '57014', "a piece of $bytes at $at ends at $point");
	return;
}

# The rest of a file as COPY data, by a client of its own.
sub copy_rest
{
	my ($name, $handle, $call) = @_;
	my $output = PostgreSQL::Test::Utils::tempdir() . "/$name";
	$call //= "CALL ese_copy_stream($id, $handle)";
	system_or_bail('sh', '-c', "psql -XAtq -v ON_ERROR_STOP=1 -d \"$connection\" -c \"$call\" > $output");
	$copy{$name} .= slurp_file($output);
	return;
}

append_to_file("$data/grown", 'x' x 10000);
$dbh->do("SELECT ese_begin_external_backup_instance($id)");

# ---- the rest is copied: the bytes of the file
my $handle = open_file('noise1');
keep('noise1', 0, piece($handle, 8192, 0));
broken_piece('read.copied', $handle, $large, 8192);
copy_rest('noise1', $handle);
ok($copy{noise1} eq $noise{noise1}, 'after a piece that was cancelled ese_copy_stream sends what follows');
close_handle($handle);

# ---- closed and gone on with
$handle = open_file('noise2');
keep('noise2', 0, piece($handle, 8192, 0));
broken_piece('read.copied', $handle, $large, 8192, 'pg_terminate_backend');
close_handle($handle);
$handle = open_file('noise2', 8192);
read_rest('noise2', $handle);
close_handle($handle);

# ---- the last piece again, which is interrupted, while the file changes
for my $case ([ 'noise3', 'read.frame' ], [ 'noise4', 'read.copied' ])
{
	my ($name, $point) = @$case;
	$handle = open_file($name);
	keep($name, 0, piece($handle, 8192, 0));
	keep($name, 8192, piece($handle, 16777216, 8192));
	is(length($copy{$name}), $size, "$name in two pieces");
	write_at($name, 9000, 'changed');
	broken_piece($point, $handle, 16777216, 8192);
	close_handle($handle);
}

# ---- reading on after that, and the same piece once more
$handle = open_file('noise5');
keep('noise5', 0, piece($handle, $large, 0));
write_at('noise5', 100, 'changed');
broken_piece('read.frame', $handle, $large, 0);
$reader->do("SET statement_timeout = '60s'");
keep('noise5', $large, piece($handle, 8192, $large));
is(length($copy{noise5}), $large + 8192, 'reading on after a piece that was to come again');
read_rest('noise5', $handle);
close_handle($handle);

$handle = open_file('noise6');
keep('noise6', 0, piece($handle, $large, 0));
write_at('noise6', 100, 'changed');
broken_piece('read.frame', $handle, $large, 0);
keep('noise6', 0, piece($handle, $large, 0));
ok($copy{noise6} eq substr($noise{noise6}, 0, $large), 'or it is had again, as the file is now');
read_rest('noise6', $handle);
close_handle($handle);

# ---- the previous piece, when the next one was asked for
$handle = open_file('noise7');
keep('noise7', 0, piece($handle, 1048576, 0));
broken_piece('read.copied', $handle, $large, 1048576);
my $message = fails_with($reader, 'J1003', "SELECT ese_read_file_instance($id, $handle, 1048576, 0)", 'it is gone');
like($message, qr/The position is 1048576\.$/m, 'which names the position, and no piece that is not there');
broken_piece('read.frame', $handle, $large, 1048576);
read_rest('noise7', $handle);
close_handle($handle);

# ---- a request whose client has gone on elsewhere before it is served
$handle = open_file('noise9');
set_test_points($node, 'read.start=wait');
$dbh->do("SET ese.test_points = ''");
my $lost = EseClient::connect_to(dsn($node));
$lost->do("SELECT ese_read_file_instance($id, $handle, $large, 0)", { pg_async => DBD::Pg::PG_ASYNC });
wait_for($node, "SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $lost->{pg_pid}");
POSIX::close($lost->{pg_socket});
$lost->{InactiveDestroy} = 1;
keep('noise9', 0, EseClient::value($dbh, "SELECT ese_read_file_instance($id, $handle, $large, 0)"));
write_at('noise9', 100, 'changed');
set_test_points($node, '');
wait_for($node, "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $lost->{pg_pid}");
read_rest('noise9', $handle);
close_handle($handle);

# ---- a call that copies, in a DO block; not where no COMMIT could stand
$handle = open_file('noise8');
keep('noise8', 0, piece($handle, 8192, 0));
my $call = "CALL ese_copy_stream($id, $handle)";
for my $wrong ("BEGIN; $call; COMMIT", "DO \$\$ BEGIN $call; EXCEPTION WHEN division_by_zero THEN NULL; END \$\$")
{
	my ($code, $out, $err) = $node->psql('postgres', $wrong);
	like($err, qr/ese_copy_stream cannot be called in a transaction block/, 'refused inside ' . substr($wrong, 0, 8));
}
copy_rest('noise8', $handle, "DO \\\$\\\$ BEGIN $call; END \\\$\\\$");
close_handle($handle);

# ---- a statement that fails behind the piece it read: without at_offset the next piece would be taken for it
my $counted = EseClient::value($dbh, 'SELECT files_done FROM ese_backup_progress');
$handle = open_file('grown');
my $behind = "SELECT 1 / (length(ese_read_file_instance($id, $handle, 8192)) - 8192)";
fails_with($dbh, '22012', $behind, 'a piece is lost');
fails_with($dbh, 'J1003', "SELECT ese_read_file_instance($id, $handle, 8192)", 'so reading on is refused');
is(length(EseClient::value($dbh, "SELECT ese_read_file_instance($id, $handle, 8192, 0)")), 8192, 'not with at_offset');
fails_with($dbh, '22012', "SELECT 1 / (length(ese_read_file_instance($id, $handle, 8192)) - 1808)", 'the last piece is lost');
close_handle($handle);
is(EseClient::value($dbh, 'SELECT files_done FROM ese_backup_progress'), $counted, 'and does not count when it is closed');

# ---- what is explained is not read
$handle = open_file('PG_VERSION');
fails_with($reader, '0A000', "EXPLAIN ANALYZE SELECT ese_read_file_instance($id, $handle)", 'EXPLAIN ANALYZE would drop what it reads');
close_handle($handle);

# ---- a file that was read, has grown, and is read again in part
$handle = open_file('grown');
keep('grown', 0, piece($handle, 16384, 0));
close_handle($handle);
append_to_file("$data/grown", 'y' x 10000);
$handle = open_file('grown');
piece($handle, 8192, 0);
close_handle($handle);

# ---- the manifest says of every copy what it is
is($dbh->selectrow_array('SELECT files_done FROM ese_backup_progress'), 10, 'ten files count');
$dbh->do("SELECT ese_get_log_info_instance($id)");
$handle = open_file('backup_manifest');
my $manifest = piece($handle, 16777216, 0);
close_handle($handle);
for my $name (sort keys %copy)
{
	my ($length, $checksum) = $manifest =~ /"Path": "$name", "Size": (\d+), .*?"Checksum": "([0-9a-f]+)"/;
	is("$length $checksum", length($copy{$name}) . ' ' . sha256_hex($copy{$name}), "$name: the manifest says what was delivered");
}
$dbh->do("SELECT ese_end_external_backup_instance($id, 2)");
nothing_held($node, 'after the files');

# ---- a stream that is closed while it opens a file
$dbh->do("SELECT ese_begin_external_backup_instance($id)");
my $directories = EseClient::value($dbh, "SELECT ese_open_stream_instance($id)");
wait_for($node, 'SELECT files_in_streams > 20 FROM ese_backup_progress');
set_test_points($node, 'engine.open=hold');
my $waiting = EseClient::value($dbh, 'SELECT files_unassigned FROM ese_backup_progress');
for my $close ('ese_close_file_instance(%d, %d)', 'ese_resume_stream_instance(%d, %d, 0)')
{
	$handle = EseClient::value($dbh, "SELECT ese_open_stream_instance($id)");
	wait_for($node, "SELECT files_unassigned < $waiting FROM ese_backup_progress");
	$reader->do('SELECT ' . sprintf($close, $id, $handle), { pg_async => DBD::Pg::PG_ASYNC });
	wait_for($node, "SELECT wait_event = 'EseCall' OR wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $reader->{pg_pid}");
	set_test_points($node, '');
	$reader->pg_result;
	set_test_points($node, 'engine.open=hold') if $close =~ /close/;
}
unlike(slurp_file($node->logfile), qr/file "[^"]*" failed/, 'its files have not failed');
for my $open ($dbh->selectall_array('SELECT handle FROM ese_backup_handle'))
{
	$dbh->do("SELECT ese_close_file_instance($id, $open->[0])");
}
is($dbh->selectrow_array('SELECT files_in_streams + files_done FROM ese_backup_progress'), 0, 'they are all back in the queue');

# ---- a Resume whose reply was lost is repeated
$handle = EseClient::value($dbh, "SELECT ese_open_stream_instance($id)");
my $bytes = 0;
$bytes += length($_->[0]) for @{ $dbh->selectall_arrayref("SELECT ese_read_stream_instance($id, $handle) LIMIT 20") };
my @first = $dbh->selectrow_array("SELECT * FROM ese_resume_stream_instance($id, $handle, $bytes)");
cmp_ok($first[1], '>', 0, "of $bytes bytes $first[1] count") or diag(join(' ', map { "@$_" } $dbh->selectall_array('SELECT files_done,files_total,files_unassigned,files_in_streams FROM ese_backup_progress')));
is_deeply([ $reader->selectrow_array("SELECT * FROM ese_resume_stream_instance($id, $handle, $bytes)") ], \@first, 'the same answer again');
fails_with($reader, 'J1003', "SELECT * FROM ese_resume_stream_instance($id, $handle, 0)", 'not for another number of bytes');
$dbh->do("SELECT ese_end_external_backup_instance($id, 2)");
nothing_held($node, 'after the streams');

# ---- a Close whose backup ends before it is answered
$dbh->do("SELECT ese_begin_external_backup_instance($id)");
set_test_points($node, 'engine.read=hold');
$handle = open_file('noise1');
$reader->do("SELECT ese_close_file_instance($id, $handle)", { pg_async => DBD::Pg::PG_ASYNC });
wait_for($node, "SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $reader->{pg_pid}");
$dbh->do("SELECT ese_end_external_backup_instance($id, 2)");
is(eval { $reader->pg_result; 1 } ? '00000' : $reader->state, 'J0520', 'is told so');
set_test_points($node, '');
nothing_held($node, 'after the Close');

# ---- a job that could not be opened gives its frames back
$dbh->do("SELECT ese_begin_external_backup_instance($id)");
set_test_points($node, 'open.job=fail');
fails_with($dbh, 'J1011', "SELECT * FROM ese_open_file_instance($id, 'noise1')", 'out of memory') for 1 .. 3;
set_test_points($node, '');
$handle = open_file('noise1');
close_handle($handle);
$dbh->do("SELECT ese_end_external_backup_instance($id, 2)");
nothing_held($node, 'after jobs that could not be opened');

# ---- a session that still reads a handle that is closed is named
$dbh->do("SELECT ese_begin_external_backup_instance($id)");
$handle = open_file('noise1');
$reader->do("SET ese.test_points = 'read.frame=wait'");
$reader->do("SELECT ese_read_file_instance($id, $handle)", { pg_async => DBD::Pg::PG_ASYNC });
wait_for($node, "SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $reader->{pg_pid}");
$dbh->do("SELECT ese_end_external_backup_instance($id, 2)");
is($node->safe_psql('postgres', 'SELECT handles_closing, closing_pids FROM ese_stream_buffers'), "1|{$reader->{pg_pid}}", 'the view has its process ID');
$dbh->do("SELECT pg_cancel_backend($reader->{pg_pid})");
eval { $reader->pg_result };
nothing_held($node, 'after the reader');
is($node->safe_psql('postgres', 'SELECT closing_pids IS NULL FROM ese_stream_buffers'), 't', 'and none when there is none');

# ---- numbers of handles only grow
my $last = $handle;
for my $restart (qw(none worker crash fast))
{
	if ($restart eq 'worker') { $dbh->do("SELECT ese_term($id)"); $dbh->do("SELECT ese_init($id)"); }
	if ($restart eq 'crash') { kill_server($node, $node->safe_psql('postgres', 'SELECT worker_pid FROM ese_instance')); $node->start; }
	$node->restart if $restart eq 'fast';
	$dbh = EseClient::connect_to(dsn($node)) if $restart eq 'crash' || $restart eq 'fast';
	wait_for($node, "SELECT state = 'running' FROM ese_instance");
	$dbh->do("SELECT ese_begin_external_backup_instance($id)");
	my $grown = 1;
	for (1 .. 300)
	{
		$handle = open_file('PG_VERSION');
		$grown &&= $handle > $last;
		$last = $handle;
		close_handle($handle);
	}
	ok($grown, "restart $restart: 300 numbers, each larger than the one before");
	$dbh->do("SELECT ese_end_external_backup_instance($id, 2)");
}

done_testing();
