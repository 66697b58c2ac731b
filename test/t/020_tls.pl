# Streams over an encrypted connection.
use strict;
use warnings;

use EseClient;
use EseTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => "autovacuum = off\nlisten_addresses = '127.0.0.1'\n");
$node->command_ok([ 'pgbench', '-i', '-s', '5', '-q', 'postgres' ], 'pgbench data');
my $data = $node->data_dir;
system_or_bail('openssl', 'req', '-new', '-x509', '-days', '2', '-nodes', '-subj', '/CN=test', '-out', "$data/server.crt", '-keyout', "$data/server.key");
chmod(0600, "$data/server.key");
$node->append_conf('pg_hba.conf', 'hostssl all all 127.0.0.1/32 trust');
$node->append_conf('postgresql.conf', 'ssl = on');
$node->restart;

my $id = start_instance($node, 'main');
my $dsn = 'host=127.0.0.1;port=' . $node->port . ';dbname=postgres;sslmode=require';
my $dbh = EseClient::connect_to($dsn);
is(EseClient::value($dbh, 'SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()'), '1', 'the connection is encrypted');

for my $compression ('none', 'zstd:1')
{
	my $directory = PostgreSQL::Test::Utils::tempdir() . '/backup';
	EseClient::value($dbh, 'SELECT ese_set_system_parameter(?, ?, ?)', $id, 'backup_compression', $compression);
	EseClient::backup($dsn, $id, $directory, streams => 1, sessions => 2);
	command_ok([ 'pg_verifybackup', '-q', $directory ], "two streams, compression $compression: pg_verifybackup");
}
EseClient::value($dbh, 'SELECT ese_set_system_parameter(?, ?, ?)', $id, 'backup_compression', 'none');

# a reader that reads nothing is stopped where it waits for its socket
EseClient::value($dbh, 'SELECT ese_begin_external_backup_instance(?)', $id);
my $handle = EseClient::value($dbh, 'SELECT ese_open_stream_instance(?)', $id);
my $reader = EseClient::connect_to($dsn);
my $piece;
$reader->do("CALL ese_copy_stream($id, $handle)");
$reader->pg_getcopydata($piece);
wait_for($node, "SELECT wait_event = 'ClientWrite' FROM pg_stat_activity WHERE query LIKE 'CALL ese_copy_stream%' AND pid <> pg_backend_pid()");
EseClient::value($dbh, 'SELECT ese_stop_backup_instance(?)', $id);
my $ended = !eval { 1 while $reader->pg_getcopydata($piece) >= 0; 1 };
ok($ended && $reader->state eq 'J0801', 'a stop ends a reader') or diag($reader->state);
is(EseClient::value($reader, 'SELECT 1'), '1', 'its connection is usable');
$dbh->do("SELECT ese_end_external_backup_instance($id)");
nothing_held($node, 'in the end');

done_testing();
