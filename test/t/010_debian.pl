# A cluster made by pg_createcluster: its configuration lies outside the data
# directory.  Restored with the README's commands.
use strict;
use warnings;

use EseClient;
use EseTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $version = 15;
my $name = "ese$$";
my $base = PostgreSQL::Test::Utils::tempdir();
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $sockets = PostgreSQL::Test::Utils::tempdir_short();

plan skip_all => 'pg_createcluster cannot be used by this user'
  if !-x '/usr/bin/pg_createcluster' || !-w '/etc/postgresql' && !-w '/etc';

sub run_ok { my @command = @_; return is(system("@command > '$base/log' 2>&1"), 0, "@command") || diag(slurp_file("$base/log")); }
sub psql { my ($sql, $to) = @_; return scalar `psql -X -At -h '$sockets' -p @{[ $to // $port ]} -c "$sql" postgres 2>&1`; }
sub configure
{
	my ($cluster, $text) = @_;
	append_to_file("/etc/postgresql/$version/$cluster/postgresql.conf", $text);
	return;
}

run_ok("pg_createcluster --port $port --datadir $base/data --socketdir $sockets --logfile $base/server.log $version $name -- --data-checksums --auth=trust");
configure($name, "shared_preload_libraries = 'ese'\n");
run_ok("pg_ctlcluster $version $name start");
run_ok("pgbench -h $sockets -p $port -i -s 2 -q postgres");
psql($_) for ('CREATE EXTENSION ese', "SELECT ese_create_instance('main')", 'SELECT ese_init(1)');
ok(!-e "$base/data/postgresql.conf", 'the configuration is not in the data directory');
my $dsn = "host=$sockets;port=$port;dbname=postgres";
my %backups = (
	files => sub { EseClient::backup($dsn, 1, $_[0], sessions => 2) },
	streams => sub { EseClient::backup($dsn, 1, $_[0], sessions => 2, streams => 1) },
	native => sub { EseClient::value(EseClient::connect_to($dsn), "SELECT ese_backup_instance(1, '$_[0]')") });
my $other_port = PostgreSQL::Test::Cluster::get_free_port();
run_ok("pg_createcluster --port $other_port --datadir $base/restored --socketdir $sockets --logfile $base/restored.log $version ${name}r");
for my $way (sort keys %backups)
{
	my $backup = "$base/$way";
	ok(eval { $backups{$way}->($backup); 1 }, "a backup: $way") or diag($@);
	run_ok("pg_verifybackup $backup");

	# the README's commands, with other places
	run_ok("rm -rf $base/restored && cp -a $backup $base/restored");
	run_ok("cp /etc/postgresql/$version/$name/pg_hba.conf /etc/postgresql/$version/${name}r/");
	run_ok("pg_ctlcluster $version ${name}r start");
	is(psql('SELECT count(*) FROM pgbench_accounts', $other_port), "200000\n", "$way: the restored cluster answers");
	run_ok("pg_ctlcluster $version ${name}r stop");
}

END
{
	for my $cluster ($name ? ($name, "${name}r") : ())
	{
		system("pg_dropcluster --stop $version $cluster > /dev/null 2>&1") if -d "/etc/postgresql/$version/$cluster";
	}
}

done_testing();
