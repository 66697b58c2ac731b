# A destination that hangs: whatever system call a thread is in, stop, term, the
# session that waits and the next backup get their answers, and nothing wrong
# happens when the call returns.
use strict;
use warnings;

use EseClient;
use EseTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $work = PostgreSQL::Test::Utils::tempdir();
my $gates = "$work/gates";
mkdir($gates) or die;
my $library = build_preload('hang');
$ENV{ESE_TEST_HANG} = $gates;
my $node = do { local $ENV{LD_PRELOAD} = $library; new_node('main', conf => "autovacuum = off\n") };
my $id = start_instance($node, 'main', backup_threads => 2, circular_log => 'off');
my $dbh = connected();
my $waiter = connected();
my $warnings = '';
$SIG{__WARN__} = sub { $warnings .= $_[0]; };
$dbh->{PrintWarn} = 1;

# What hangs here would hang for ever.
sub connected
{
	my $new = EseClient::connect_to(dsn($node));
	$new->do("SET statement_timeout = '20s'");
	return $new;
}

sub hang_at
{
	my ($call, $directory) = @_;
	append_to_file("$gates/$call.tmp", $directory);
	rename("$gates/$call.tmp", "$gates/$call") or die;
	return;
}

sub wait_for_hang
{
	my ($call) = @_;
	for (1 .. 4000)
	{
		return if -e "$gates/$call.waiting";
		usleep(5000);
	}
	die "nothing hangs at $call";
}

# Let it return, and wait until nothing hangs any more.
sub let_return
{
	my ($call) = @_;
	my $offset = -s $node->logfile;
	unlink("$gates/$call");
	$node->wait_for_log(qr/nothing of backup \d+ of instance "main" hangs/, $offset);
	return;
}

# SQLSTATE of a statement, which answers soon.
sub answers
{
	my ($expected, $sql, $name, $session) = @_;
	$warnings = '';
	my $before = time();
	is(error_of($session // $dbh, $sql), $expected, $name);
	my $took = time() - $before;
	cmp_ok($took, "<", 5, "$name: soon") if $sql !~ /backup_instance\(\d+, .*4\)|SELECT ese_backup_instance/;
	return;
}

sub begin_waiting
{
	my ($sql) = @_;
	$waiter->do($sql, { pg_async => 1 });
	return;
}

# What the session that waits gets.
sub waiter_gets
{
	my ($expected, $name) = @_;
	is(eval { $waiter->pg_result; 1 } ? '00000' : $waiter->state, $expected, $name);
	return;
}

my $count = 0;
sub next_works
{
	my ($name, $hanging) = @_;
	my $path = "$work/elsewhere" . $count++;
	$warnings = '';
	is(error_of($dbh, "SELECT ese_backup_instance($id, '$path')"), '00000', "$name: the next backup, elsewhere");
	like($warnings, qr/hangs in "\Q$hanging\E/, 'which is told where a thread hangs') if $hanging;
	command_ok([ 'pg_verifybackup', '-q', $path ], 'and good');
	return;
}

sub stopped
{
	my ($name, $hanging) = @_;
	answers('00000', "SELECT ese_stop_backup_instance($id)", "$name: stop");
	waiter_gets('J0801', "$name: who waits is told");
	return;
}

# The destination cannot be made.
my $target = "$work/mkdir";
hang_at('mkdir', $target);
begin_waiting("SELECT ese_backup_instance($id, '$target')");
wait_for_hang('mkdir');
answers('J0505', "SELECT ese_backup_instance($id, '$work/other')", 'mkdir: another backup is refused');
answers('J0505', "SELECT ese_term($id)", 'mkdir: so is a term that does not stop');
stopped('mkdir');
next_works('mkdir', $target);
answers('J1032', "SELECT ese_backup_instance($id, '$target')", 'mkdir: one to the same place is refused');
like($dbh->errstr, qr/a thread of backup \d+ hangs in "\Q$target\E"/i, 'saying why');
let_return('mkdir');
ok(!-e $target, 'mkdir: what was made then is gone');
answers('00000', "SELECT ese_backup_instance($id, '$target')", 'mkdir: a backup to the same place');

# The threads that write hang: others take their place.
$target = "$work/write";
hang_at('write', "$target/base");
begin_waiting("SELECT ese_backup_instance($id, '$target')");
wait_for_hang('write');
stopped('write', $target);
like($warnings, qr/hangs in "\Q$target\E/, 'write: stop says where a thread hangs');
next_works('write', $target);
ok(-e "$target/ese_backup_incomplete", 'write: what was written stays marked');
let_return('write');
ok(!-e $target, 'write: and is removed then');
next_works('write, after it has returned');

# A cancel ends a backup that has not begun.
$target = "$work/cancelled";
hang_at('open', $target);
my $pid = $waiter->{pg_pid};
begin_waiting("SELECT ese_backup_instance($id, '$target')");
wait_for_hang('open');
$dbh->do("SELECT pg_cancel_backend($pid)");
waiter_gets('57014', 'open: cancelled');
wait_for($node, 'SELECT count(*) = 0 FROM ese_backup_progress');
next_works('open, cancelled', $target);
let_return('open');
ok(!-e $target, 'open: nothing is left');
is(last_row($node, "count(*) FILTER (WHERE location = '$target' AND status = 'completed') FROM ese_backup_history --"), 0,
	'open: it has never begun');

# The removal hangs.
$target = "$work/unlink";
set_test_points($node, 'native.logs=wait');
my $offset = -s $node->logfile;
begin_waiting("SELECT ese_backup_instance($id, '$target')");
$node->wait_for_log(qr/waiting at test point "native.logs"/, $offset);
hang_at('unlink', $target);
$dbh->do("SELECT ese_stop_backup_instance($id, false)");
set_test_points($node, '');
waiter_gets('J0801', 'unlink: who waits is told');
next_works('unlink', $target);
let_return('unlink');
ok(!-e $target, 'unlink: the removal goes on');

# So does that of the former atomic backup, when the new one is complete.
my $atomic = "$work/atomic";
answers('00000', "SELECT ese_backup_instance($id, '$atomic', 4)", 'atomic: the first');
hang_at('unlink', "$atomic/old");
answers('00000', "SELECT ese_backup_instance($id, '$atomic', 4)", 'atomic: the next, though the former one cannot be removed');
answers('J1032', "SELECT ese_backup_instance($id, '$atomic', 4)", 'atomic: another one is refused');
let_return('unlink');
ok(!-e "$atomic/old", 'atomic: the former one goes later');

# The last step of an atomic backup hangs: it is not published.
sub identity { return join(' ', (stat(shift))[ 0, 1 ]); }
my $former = identity("$atomic/new");
hang_at('rename', "$atomic/temp");
begin_waiting("SELECT ese_backup_instance($id, '$atomic', 4)");
wait_for_hang('rename');
stopped('rename');
next_works('rename', $atomic);
let_return('rename');
is(identity("$atomic/old"), $former, 'rename: the former backup stays');
ok(!-e "$atomic/new" && !-e "$atomic/temp", 'rename: the stopped one is gone');
answers('00000', "SELECT ese_backup_instance($id, '$atomic', 4)", 'rename: the next');

# A full disk is named; an incremental leaves the full one as it was.
my $full = "$work/full";
append_to_file("$gates/full", "$full/base");
answers('J1808', "SELECT ese_backup_instance($id, '$full')", 'a full disk');
like($dbh->errstr, qr/could not write file "[^"]+" in "\Q$full\E": No space left on device/, 'is named');
unlink("$gates/full");
append_to_file("$gates/full", $full);
answers('J1808', "SELECT ese_backup_instance($id, '$full')", 'a disk that is full from the beginning');
unlink("$gates/full");
ok(!-e $full, 'nothing is left there');
answers('00000', "SELECT ese_backup_instance($id, '$full')", 'a full backup');
append_to_file("$gates/full", $full);
answers('J1808', "SELECT ese_backup_instance($id, '$full', 1)", 'an incremental one on a full disk');
like($dbh->errstr, qr/DETAIL: .* The backup in "\Q$full\E" is as good as it was before\./, 'leaves the full one as it was, and says so');
unlink("$gates/full");
answers('00000', "SELECT ese_backup_instance($id, '$full', 1)", 'with room it follows');
command_ok([ 'pg_verifybackup', '-q', $full ], 'and the directory is good');

# What a session has asked for that died in the queue does not run later.
set_test_points($node, 'native.databases=wait');
$offset = -s $node->logfile;
begin_waiting("SELECT ese_backup_instance($id, '$work/first')");
$node->wait_for_log(qr/waiting at test point "native.databases"/, $offset);
my $client = fork() // die;
exec('psql', '-X', '-c', "SELECT ese_backup_instance($id, '$work/queued') /* queued */", $node->connstr('postgres')) if $client == 0;
my $queued = "SELECT count(*) = %d FROM pg_stat_activity WHERE query LIKE '%%/* queued */' AND wait_event = 'Extension'";
wait_for($node, sprintf($queued, 1));
kill('KILL', $client);
waitpid($client, 0);
wait_for($node, sprintf($queued, 0));
$dbh->do("SELECT ese_stop_backup_instance($id, false)");
set_test_points($node, '');
waiter_gets('J0801', 'the one before it is stopped');
next_works('a client that died in the queue');
is($node->safe_psql('postgres', "SELECT count(*) FROM ese_backup_history WHERE location = '$work/queued'"), 0,
	'what it had asked for has not begun');

# Term ends the instance, whatever hangs.
for my $grbit (qw(JET_bitTermStopBackup JET_bitTermAbrupt))
{
	for my $call (qw(mkdir write fsync))
	{
		$target = "$work/$grbit$call";
		hang_at($call, $target);
		begin_waiting("SELECT ese_backup_instance($id, '$target')");
		wait_for_hang($call);
		answers('00000', "SELECT ese_term($id, ese_grbit('$grbit'))", "$call: $grbit");
		waiter_gets('J0801', "$call, $grbit: who waits is told");
		answers('00000', "SELECT ese_init($id)", "$call: the instance starts again");
		next_works("$call, $grbit");
		# the thread dies with the process: one that really hangs would keep it
		unlink("$gates/$call", "$gates/$call.waiting");
	}
}
nothing_held($node, 'at the end');

done_testing();
