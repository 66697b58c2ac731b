# Whether what a session was sent counts, when its client has died, fails, goes
# on or says goodbye.
use strict;
use warnings;

use DBD::Pg;
use EseClient;
use EseTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = new_node('main', conf => "autovacuum = off\n");
$node->command_ok([ 'pgbench', '-i', '-s', '2', '-q', 'postgres' ], 'pgbench data');
my $id = start_instance($node, 'main');
my $dbh = EseClient::connect_to(dsn($node));
my $work = PostgreSQL::Test::Utils::tempdir();
my $connection = $node->connstr('postgres');
my $warning = '';
$SIG{__WARN__} = sub { $warning .= $_[0]; };
$dbh->{PrintWarn} = 1;

# Begin, and give back all of a stream but its first part: a stream so short
# that it fits into a client's socket.
sub short_stream
{
	my $bytes = 0;
	$dbh->do("SELECT ese_begin_external_backup_instance($id)");
	my $all = EseClient::value($dbh, "SELECT ese_open_stream_instance($id)");
	$bytes += length($_->[0]) for @{ $dbh->selectall_arrayref("SELECT ese_read_stream_instance($id, $all)") };
	return EseClient::value($dbh, "SELECT new_handle FROM ese_resume_stream_instance($id, $all, " . ($bytes - 200_000) . ')');
}

sub left { return $dbh->selectrow_array('SELECT files_total - files_done FROM ese_backup_progress'); }

# Close; does it count?
sub counts
{
	my ($handle) = @_;
	$warning = '';
	is(EseClient::value($dbh, "SELECT ese_close_file_instance($id, $handle)"), 0, 'Close returns 0');
	return left() == 0;
}

# Another stream for what is left, and a good end.
sub finish
{
	my ($step) = @_;
	for my $phase (qw(databases logs))
	{
		my $handle = EseClient::value($dbh, "SELECT ese_open_stream_instance($id)");
		$dbh->selectall_arrayref("SELECT ese_read_stream_instance($id, $handle)");
		EseClient::value($dbh, "SELECT ese_close_file_instance($id, $handle)");
		is(left(), 0, "$step: another stream carries what was left") if $phase eq 'databases';
		$dbh->do("SELECT ese_get_log_info_instance($id)");
	}
	is(EseClient::value($dbh, "SELECT ese_end_external_backup_instance($id)"), 0, "$step: a good backup");
	nothing_held($node, $step);
	return;
}

# A process with a session that does something and then waits to be killed.
sub start_client
{
	my ($work) = @_;
	pipe(my $reader, my $writer) or die;
	my $pid = fork() // die;
	if ($pid == 0)
	{
		my $session = EseClient::connect_to(dsn($node));
		$work->($session);
		syswrite($writer, 'x');
		sleep(600);
	}
	close($writer);
	sysread($reader, my $byte, 1) or die 'the client failed';
	return $pid;
}

sub kill_client
{
	my ($pid) = @_;
	kill('KILL', $pid);
	waitpid($pid, 0);
	return;
}

# All COPY data of CALL ese_copy_stream.
sub copy
{
	my ($session, $handle) = @_;
	my ($data, $bytes) = ('', 0);
	$session->do("CALL ese_copy_stream($id, $handle)");
	$bytes += length($data) while $session->pg_getcopydata($data) >= 0;
	return $bytes;
}

# ---- a client that was frozen, and killed after the server had sent it all
for my $sql ('CALL ese_copy_stream(%d, %d)', 'COPY (SELECT ese_read_stream_instance(%d, %d)) TO STDOUT (FORMAT binary)')
{
	my $handle = short_stream();
	my $left = left();
	cmp_ok($left, '>', 1, "$left files are in the stream");
	my $command = sprintf($sql, $id, $handle);
	pipe(my $reader, my $writer) or die;
	my $pid = fork() // die;
	if ($pid == 0)
	{
		# nobody reads from that pipe: psql stands still when it is full
		open(STDOUT, '>&', $writer) or die;
		exec('psql', '-XAtq', '-d', $connection, '-c', $command);
	}
	wait_for($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE query = '$command' AND state = 'idle'");
	kill_client($pid);
	ok(!counts($handle), 'a stream does not count that its client cannot have received');
	like($warning, qr/WARNING:  stream $handle does not count as read: the session that read it ended without a sign/, 'and Close says so');
	is($dbh->selectrow_array('SELECT files_unassigned FROM ese_backup_progress'), $left, 'its files are back in the queue');
	finish($command);
}

# ---- clients that got everything; what have they shown?
my %client = (
	'killed at once' => [ 0, sub { copy($_[0], $_[1]) } ],
	'killed after the rows' => [ 0, sub { $_[0]->selectall_arrayref("SELECT ese_read_stream_instance($id, $_[1])") } ],
	'killed after another statement' => [ 1, sub { copy($_[0], $_[1]); $_[0]->do('SELECT 1') } ],
	'killed after a statement that fails' => [ 1, sub { copy($_[0], $_[1]); eval { $_[0]->do('SELECT 1/0') } } ],
	'killed in another stream' => [ 1, sub {
		copy($_[0], $_[1]);
		$_[0]->begin_work;
		my $more = EseClient::value($_[0], "SELECT ese_open_stream_instance($id)");
		$_[0]->selectall_arrayref("SELECT ese_read_stream_instance($id, $more) LIMIT 1") } ],
	'terminated by the server' => [ 0, sub { copy($_[0], $_[1]); $dbh->clone->do("SELECT pg_terminate_backend($_[0]->{pg_pid})") } ],
	'that says goodbye' => [ 1, sub { copy($_[0], $_[1]); $_[0]->disconnect } ],
	'that says goodbye in a transaction' => [ 1, sub {
		$_[0]->begin_work;
		$_[0]->selectall_arrayref("SELECT ese_read_stream_instance($id, $_[1])");
		$_[0]->{InactiveDestroy} = 0;
		$_[0]->disconnect } ]);
for my $name (sort keys %client)
{
	my ($expected, $behave) = @{ $client{$name} };
	my $handle = short_stream();
	my $pid = start_client(sub { $behave->($_[0], $handle) });
	kill_client($pid);
	is(counts($handle) ? 1 : 0, $expected, "a client $name" . ($expected ? ': counts' : ': does not count'));
	is($warning =~ /does not count/ ? 0 : 1, $expected, 'and Close says so');
	for my $open ($dbh->selectall_array('SELECT handle FROM ese_backup_handle'))
	{
		$dbh->do("SELECT ese_close_file_instance($id, $open->[0])");
	}
	finish($name);
}

# ---- Close comes before the server knows of the death: it waits a moment
my $handle = short_stream();
my $pid = start_client(sub { copy($_[0], $handle) });
my ($session) = $dbh->selectrow_array('SELECT pid FROM pg_stat_activity WHERE query LIKE $$CALL%$$');
kill('STOP', $session);
kill_client($pid);
my $closer = $dbh->clone;
$closer->do("SELECT ese_close_file_instance($id, $handle)", { pg_async => DBD::Pg::PG_ASYNC });
1 until EseClient::value($dbh, "SELECT wait_event_type = 'Extension' OR state = 'idle' FROM pg_stat_activity WHERE pid = ?", $closer->{pg_pid});
kill('CONT', $session);
$closer->pg_result;
$closer->disconnect;
cmp_ok(left(), '>', 1, 'a client of whose death the server learns during Close: does not count');
finish('a late death');

# ---- a session that is alive is believed
$handle = short_stream();
my $other = EseClient::connect_to(dsn($node));
copy($other, $handle);
ok(counts($handle), 'another session closes while the reader is idle: counts');
$other->disconnect;
finish('an idle reader');

# ---- no holes: a broken stream can only be resumed
$handle = short_stream();
my $left = left();
my $bytes = 0;
$pid = start_client(sub { copy($_[0], $handle) });
kill_client($pid);
wait_for($node, 'SELECT count(*) = 0 FROM pg_stat_activity WHERE query LIKE $$CALL%$$');
for my $sql ("SELECT ese_read_stream_instance($id, $handle)", "CALL ese_copy_stream($id, $handle)")
{
	like(fails_with($dbh, 'J1003', $sql), qr/HINT:  Go on with ese_resume_stream_instance/, 'with the way out');
}
my ($again) = $dbh->selectrow_array("SELECT new_handle FROM ese_resume_stream_instance($id, $handle, 0)");
is(left(), $left, 'what was not received does not count');
copy($dbh, $again);
ok(counts($again), 'its session closes a resumed stream');
finish('a resumed stream');

# ---- rows that an error has swallowed
for my $statements ([], [ 'BEGIN', 'SAVEPOINT s' ])
{
	$handle = short_stream();
	$dbh->do($_) for @$statements;
	fails_with($dbh, '22012', "SELECT length(ese_read_stream_instance($id, $handle)) / 0");
	$dbh->do('ROLLBACK TO s') if @$statements;
	fails_with($dbh, 'J1003', "SELECT ese_read_stream_instance($id, $handle)", 'a stream that has lost a row is not read on');
	$dbh->do('ROLLBACK') if @$statements;
	ok(!counts($handle), 'nor does it count');
	finish('a lost row');
}

# ---- CALL that is cancelled goes on where it was
$handle = short_stream();
set_test_points($node, 'copy.frame=wait');
$pid = fork() // die;
if ($pid == 0)
{
	open(STDOUT, '>', "$work/cancelled") or die;
	open(STDERR, '>', '/dev/null') or die;
	exec('psql', '-XAtq', '-d', $connection, '-c', "CALL ese_copy_stream($id, $handle)", '-c', "CALL ese_copy_stream($id, $handle)");
}
wait_for($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'CALL%' AND wait_event = 'PgSleep' OR query LIKE 'CALL%' AND wait_event_type = 'Extension'");
$dbh->do("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL%'");
set_test_points($node, '');
waitpid($pid, 0);
ok(counts($handle), 'a stream that was cancelled and read on counts');
is(system("tar -tf $work/cancelled > /dev/null"), 0, 'and is whole');
finish('a cancelled stream');

# ---- a file that is copied
$dbh->do("SELECT ese_begin_external_backup_instance($id)");
my ($file, $size) = $dbh->selectrow_array("SELECT file_name, file_size FROM ese_get_attach_info_instance($id) WHERE kind = 'relation' AND file_size > 100000 ORDER BY file_size LIMIT 1");
my $done = sub { return $dbh->selectrow_array('SELECT files_done FROM ese_backup_progress'); };
$handle = EseClient::value($dbh, "SELECT handle FROM ese_open_file_instance($id, '$file')");
my $reading = sub { copy($_[0], $handle) };
kill_client(start_client($reading));
counts($handle);
is($done->(), 0, 'a file whose client has died does not count');
like($warning, qr/WARNING:  the file of handle $handle does not count as read/, 'and Close says so');
fails_with($dbh, 'J1003', "SELECT * FROM ese_open_file_instance($id, '$file', 8192)", 'it is read from its beginning, or from where all of it went');
$handle = EseClient::value($dbh, "SELECT handle FROM ese_open_file_instance($id, '$file')");
kill_client(start_client($reading));
wait_for($node, 'SELECT count(*) = 0 FROM pg_stat_activity WHERE query LIKE $$CALL%$$');
like(fails_with($dbh, 'J1003', "SELECT ese_read_file_instance($id, $handle)"), qr/HINT:  Say with at_offset what you have/, 'it is not read on');
is($dbh->selectrow_array("SELECT length(ese_read_file_instance($id, $handle, 8192, $size))"), 0, 'unless the client says what it has');
counts($handle);
is($done->(), 1, 'then it counts');
$dbh->do("SELECT ese_end_external_backup_instance($id, 2)");
nothing_held($node, 'files');

done_testing();
