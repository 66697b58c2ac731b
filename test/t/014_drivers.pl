# Streams through other clients than psql: psycopg2, psycopg 3, and pgbouncer
# in transaction pooling mode.
use strict;
use warnings;

use EseTest;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => "autovacuum = off\n");
$node->command_ok([ 'pgbench', '-i', '-s', '2', '-q', 'postgres' ], 'pgbench data');
my $id = start_instance($node, 'main');
my $work = PostgreSQL::Test::Utils::tempdir();
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $user = $node->safe_psql('postgres', 'SELECT current_user');

append_to_file("$work/users", qq("$user" ""\n));
append_to_file("$work/pgbouncer.ini", <<"INI");
[databases]
postgres = host=${\$node->host} port=${\$node->port} dbname=postgres
[pgbouncer]
listen_addr =
listen_port = $port
unix_socket_dir = $work
auth_type = trust
auth_file = $work/users
pool_mode = transaction
default_pool_size = 3
ignore_startup_parameters = extra_float_digits
logfile = $work/pgbouncer.log
INI
my $pgbouncer = IPC::Run::start([ '/usr/sbin/pgbouncer', '-q', "$work/pgbouncer.ini" ], '<', '/dev/null', '>', "$work/out", '2>&1');
for (1 .. 100)
{
	last if -e "$work/.s.PGSQL.$port";
	Time::HiRes::usleep(100_000);
}

my ($out, $err) = ('', '');
my $ok = IPC::Run::run([ 'python3', 'test/drivers.py', $node->connstr('postgres'), "host=$work port=$port dbname=postgres user=$user", $id, $work ],
	'>', \$out, '2>', \$err);
ok($ok, 'reading with psycopg2, psycopg 3 and through pgbouncer') or diag($err);
$pgbouncer->kill_kill;
is($out, "first backup is good\nsecond backup is good\nthird backup is good\n", 'each backup is good');

for my $pair ([ 'psycopg2_call', 'psycopg3_call' ], [ 'pooled_rows', 'pooled_psycopg2_rows' ], [ 'pooled_copy', 'pooled_call' ])
{
	my $directory = "$work/$pair->[0]";
	mkdir($directory, 0700);
	system_or_bail('tar', '-C', $directory, '-xf', "$work/$_.tar") for @$pair;
	command_ok([ 'pg_verifybackup', '-q', $directory ], "@$pair: pg_verifybackup");
}
nothing_held($node, 'in the end');

done_testing();
