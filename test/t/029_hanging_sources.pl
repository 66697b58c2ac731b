# A backup that is read, or the place that it is restored to, hangs: stop, the
# session that waits and the next job get their answers.
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
my $space = "$work/space";
mkdir($space);
$node->safe_psql('postgres', "CREATE TABLESPACE sp LOCATION '$space'");
$node->safe_psql('postgres', 'CREATE TABLE spaced TABLESPACE sp AS SELECT 1 AS a');
my $id = start_instance($node, 'main', backup_threads => 2);
my $dbh = connected();
my $waiter = connected();
for my $format (qw(plain tar))
{
	$dbh->do("SELECT ese_set_system_parameter($id, 'backup_format', '$format')");
	$dbh->do("SELECT ese_backup_instance($id, '$work/$format')");
}

sub connected
{
	my $new = EseClient::connect_to(dsn($node));
	$new->do("SET statement_timeout = '30s'");
	return $new;
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

# Begin something that hangs in a system call below a directory, and stop it.
sub hangs
{
	my ($call, $directory, $sql) = @_;
	my $name = $sql =~ /ese_(\w+?)_/ ? "$1, $call" : $call;
	append_to_file("$gates/$call.tmp", $directory);
	rename("$gates/$call.tmp", "$gates/$call") or die;
	$waiter->do($sql, { pg_async => 1 });
	wait_for_hang($call);
	my $before = time();
	is(error_of($dbh, "SELECT ese_stop_backup_instance($id)"), '00000', "$name: stop");
	cmp_ok(time() - $before, '<', 5, "$name: soon");
	is(eval { $waiter->pg_result; 1 } ? '00000' : $waiter->state, 'J0801', "$name: who waits is told");
	is(error_of($dbh, "SELECT ese_verify_backup($id, '$work/plain')"), '00000', "$name: the next job")
	  if $directory !~ m{^\Q$work/plain\E};
	my $offset = -s $node->logfile;
	unlink("$gates/$call");
	$node->wait_for_log(qr/nothing of backup \d+ of instance "main" hangs/, $offset);
	return;
}

for my $format (qw(plain tar))
{
	my $from = "$work/$format";
	my $restore = "SELECT ese_restore_instance($id, '$from', '$work/to')";
	hangs('stat', $from, "SELECT ese_verify_backup($id, '$from')");
	hangs('open', "$from/", "SELECT ese_verify_backup($id, '$from')");
	hangs('mkdir', "$work/to", $restore);
	hangs('mkdir', "$work/to/pg_tblspc", $restore);
	hangs('mkdir', "$work/to.", $restore);
	hangs('write', "$work/to/", $restore);
	hangs('fsync', "$work/to", $restore);
	is(join(' ', glob("'$work/to*'")), '', "$format: nothing is left");
	is(error_of($dbh, $restore), '00000', "$format: a restore there");
	system_or_bail('rm', '-rf', glob("'$work/to*'"));
}
nothing_held($node, 'at the end');

done_testing();
