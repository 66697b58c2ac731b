# What the TAP tests share.
package EseTest;

use strict;
use warnings;

use Exporter 'import';
use EseClient;
use POSIX ();
use Time::HiRes ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(
  new_node dsn start_instance fails_with error_of wait_for nothing_held
  restore_and_check query_restored call_verbosely is_good_restore set_test_points take_backup last_row kill_server build_preload @WAYS);

# Every way to take a backup: file by file, by streams, or by the server; each
# with its parameters.
our @WAYS = (
	{ name => 'by files' },
	{ name => 'by streams', streams => 1 },
	{ name => 'by streams, lz4', streams => 1, compression => 'lz4' },
	{ name => 'by streams, zstd', streams => 1, compression => 'zstd:1' },
	{ name => 'native', native => 1 },
	{ name => 'native, tar', native => 1, format => 'tar' },
	{ name => 'native, tar, lz4', native => 1, format => 'tar', compression => 'lz4' },
	{ name => 'native, tar, zstd', native => 1, format => 'tar', compression => 'zstd:1' });

# A running node with the extension.  Options: conf (text), initdb (list).
sub new_node
{
	my ($name, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(allows_streaming => 1,
		extra => $options{initdb} // ['--data-checksums']);
	$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'ese'
shared_buffers = 16MB
max_worker_processes = 16
max_replication_slots = 8
restart_after_crash = on
log_min_messages = info
CONF
	$node->append_conf('postgresql.conf', $options{conf}) if $options{conf};
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION ese');
	return $node;
}

# Build test/lib/<name>.c, to be preloaded into a server.
sub build_preload
{
	my ($name) = @_;
	my $library = PostgreSQL::Test::Utils::tempdir() . "/$name.so";
	PostgreSQL::Test::Utils::system_or_bail('cc', '-D_GNU_SOURCE', '-shared', '-fPIC', '-O1', '-o', $library,
		"test/lib/$name.c", '-ldl');
	return $library;
}

# What EseClient::connect_to() takes.
sub dsn
{
	my ($node, $database) = @_;
	return join(';', split(/ /, $node->connstr($database // 'postgres') =~ s/'//gr));
}

# Create and start an instance; returns its id.
sub start_instance
{
	my ($node, $name, %parameters) = @_;
	my $id = $node->safe_psql('postgres', "SELECT ese_create_instance('$name')");
	$node->safe_psql('postgres', "SELECT ese_set_system_parameter($id, '$_', '$parameters{$_}')")
	  for sort keys %parameters;
	$node->safe_psql('postgres', "SELECT ese_init($id)");
	return $id;
}

# The SQLSTATE of a statement; 00000 when it succeeds.
sub error_of
{
	my ($dbh, $sql) = @_;
	return '00000' if eval { $dbh->selectall_arrayref($sql); 1 };
	return $dbh->state;
}

sub fails_with
{
	my ($dbh, $state, $sql, $name) = @_;
	my $got = error_of($dbh, $sql);
	is($got, $state, $name // $sql) or diag($dbh->errstr // '');
	return $dbh->errstr // '';
}

# Wait until a query says t.
sub wait_for
{
	my ($node, $sql) = @_;
	$node->poll_query_until('postgres', $sql)
	  or die "timed out waiting for: $sql";
	return;
}

# Set the test points, and wait until all workers and these sessions know.
sub set_test_points
{
	my ($node, $points, @sessions) = @_;
	my $before = $node->safe_psql('postgres', 'SHOW ese.test_points');
	my @running = split(/\n/, $node->safe_psql('postgres',
			"SELECT name FROM ese_instance WHERE state = 'running'"));
	my $offset = -s $node->logfile;
	$node->safe_psql('postgres', "ALTER SYSTEM SET ese.test_points = '$points'");
	$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
	return if $before eq $points;
	$node->wait_for_log(qr/instance "$_": test points are now "\Q$points\E"/, $offset)
	  for @running;
	for my $dbh (@sessions)
	{
		1 while EseClient::value($dbh, 'SHOW ese.test_points') ne $points;
	}
	return;
}

# After a fault: no slot, no backup mode, no handle, no frame, no file.
sub nothing_held
{
	my ($node, $name) = @_;
	my @held;

	wait_for($node, "SELECT count(*) = 0 FROM ese_instance WHERE state NOT IN ('running', 'stopped')");
	wait_for($node, 'SELECT handles_open + handles_closing = 0 FROM ese_stream_buffers');
	push @held, 'slot'
	  if $node->safe_psql('postgres',
		"SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'esebk%'") != 0;
	push @held, 'backup'
	  if $node->safe_psql('postgres', 'SELECT count(*) FROM ese_backup_progress') != 0;
	# each instance has its answer frame and what it was promised
	push @held, 'frames'
	  if $node->safe_psql('postgres',
		"SELECT bytes_total - bytes_free <> 262144 * (SELECT count(*) FROM ese_instance WHERE state = 'running')
		   FROM ese_stream_buffers") ne 'f';
	push @held, 'running history rows'
	  if $node->safe_psql('postgres',
		"SELECT count(*) FROM ese_backup_history WHERE status IN ('running', 'stopped')") != 0;
	my $data = $node->data_dir;
	for my $pid (split(/\n/, $node->safe_psql('postgres',
			'SELECT worker_pid FROM ese_instance WHERE worker_pid IS NOT NULL')))
	{
		my @open = map { readlink($_) // '' } glob("/proc/$pid/fd/*");
		my @data = grep { m{^\Q$data\E/(base|global|pg_tblspc)/} } @open;
		# the server itself keeps the segment open that it wrote last
		my @wal = grep { m{^\Q$data\E/pg_wal/} } @open;
		push @held, "files @data @wal" if @data || @wal > 1;
	}
	# without full_page_writes only backup mode writes page images
	if ($node->safe_psql('postgres', 'SHOW full_page_writes') eq 'off')
	{
		$node->safe_psql('postgres', 'CREATE TABLE IF NOT EXISTS fpi AS SELECT 1 AS a');
		$node->safe_psql('postgres', 'VACUUM fpi; CHECKPOINT');
		my $plan = $node->safe_psql('postgres',
			'EXPLAIN (ANALYZE, WAL, COSTS OFF, TIMING OFF) UPDATE fpi SET a = a + 1');
		push @held, 'backup mode' if $plan =~ /fpi=/;
	}
	return is("@held", '', $name);
}

# Extract what a native backup in tar format has written.
sub extract
{
	my ($from, $directory) = @_;
	mkdir($directory, 0700);
	for my $archive (glob("'$from'/*.tar*"))
	{
		my $unpack = $archive =~ /\.lz4$/ ? 'lz4 -dcq' : $archive =~ /\.zst$/ ? 'zstd -dcq' : 'cat';
		system("$unpack '$archive' | tar -C '$directory' -xf -") == 0 or die "could not extract $archive\n";
	}
	return;
}

# Run a hook while the worker waits at a point of a native backup.
sub at_point
{
	my ($node, $offset, $point, $next, $hook, $dbh) = @_;
	$node->wait_for_log(qr/waiting at test point "\Q$point\E"/, $offset);
	$hook->($dbh, []) if $hook;
	set_points_while_waiting($node, $next);
	return;
}

# A worker that waits at a test point reads the settings, but says nothing.
sub set_points_while_waiting
{
	my ($node, $points) = @_;
	$node->safe_psql('postgres', "ALTER SYSTEM SET ese.test_points = '$points'");
	$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
	return;
}

sub native_backup
{
	my ($node, $id, $directory, %options) = @_;
	my $dbh = EseClient::connect_to(dsn($node));
	my $hooks = $options{listed} || $options{between};
	my $offset = -s $node->logfile;
	my $label = $dbh->quote($options{label} // 'test');
	set_test_points($node, 'native.databases=wait') if $hooks;
	my $target = $options{format} ? "$directory.tar" : $directory;
	my $child = fork() // die;
	if ($child == 0)
	{
		my $ok = eval {
			EseClient::value(EseClient::connect_to(dsn($node)), "SELECT ese_backup_instance($id, '$target', label => $label)");
			1;
		};
		print STDERR $@ unless $ok;
		POSIX::_exit($ok ? 0 : 1);
	}
	if ($hooks)
	{
		at_point($node, $offset, 'native.databases', 'logs.stop=wait', $options{listed}, $dbh);
		at_point($node, $offset, 'logs.stop', '', $options{between}, $dbh);
	}
	waitpid($child, 0);
	die "the backup failed\n" if $? != 0;
	extract($target, $directory) if $options{format};
	return EseClient::value($dbh, "SELECT max(backup_id) FROM ese_backup_history WHERE instance_id = $id");
}

# A backup in one of @WAYS; dies unless it is good.  Options as of
# EseClient::backup(); a hook of a native one cannot call the worker.
sub take_backup
{
	my ($way, $node, $id, $directory, %options) = @_;
	my %parameters = (backup_format => $way->{format} // 'plain', backup_compression => $way->{compression} // 'none');
	$node->safe_psql('postgres', "SELECT ese_set_system_parameter($id, '$_', '$parameters{$_}')") for keys %parameters;
	return native_backup($node, $id, $directory, %$way, %options) if $way->{native};
	return EseClient::backup(dsn($node), $id, $directory, sessions => 2, %$way, %options);
}

# The processes of a server that was started in this directory.
sub processes_in
{
	my ($directory) = @_;
	return grep { (readlink("/proc/$_/cwd") // '') eq $directory } map { m{(\d+)} } glob('/proc/[0-9]*');
}

# Kill a whole server, an instance's worker first, and wait until the last of
# its processes has gone.  They go by themselves when the postmaster has died,
# but for one that waits for a lock which a killed process held: PostgreSQL
# lets it wait for ever.
sub kill_server
{
	my ($node, $worker) = @_;
	my $postmaster = $node->{_pid};
	# the postmaster first: it must not log that the worker was killed
	kill('KILL', $postmaster, $worker);
	$node->{_pid} = undef;
	for my $tenth (1 .. 300)
	{
		my @left = processes_in($node->data_dir);
		# a worker whose first thread is gone has no directory any more, but memory
		return if !@left && !kill(0, $postmaster) && !kill(0, $worker);
		kill('KILL', @left) if $tenth > 20;
		Time::HiRes::usleep(100_000);
	}
	die 'processes of the server are left';
}

# Columns of the newest row of the history.
sub last_row
{
	my ($node, $columns) = @_;
	return $node->safe_psql('postgres', "SELECT $columns FROM ese_backup_history ORDER BY backup_id DESC LIMIT 1");
}

# Start a server on a backup, as the README says.
sub restore_and_check
{
	my ($node, $name, $directory, %options) = @_;
	my $restored = PostgreSQL::Test::Cluster->new($name);
	command_ok([ 'pg_verifybackup', $directory ], "$name: pg_verifybackup");
	PostgreSQL::Test::Utils::system_or_bail('cp', '-a', $directory, $restored->data_dir);
	$restored->append_conf('postgresql.conf', "port = " . $restored->port);
	$restored->append_conf('postgresql.conf',
		"unix_socket_directories = '" . $restored->host . "'");
	$restored->append_conf('postgresql.conf', "allow_in_place_tablespaces = on");
	$restored->append_conf('postgresql.conf', $options{conf}) if $options{conf};
	$restored->start;
	return $restored;
}

# Start a server in a restored directory, ask it, and remove the directory.
sub query_restored
{
	my ($node, $data, $sql) = @_;
	my $socket = PostgreSQL::Test::Utils::tempdir_short();
	append_to_file("$data/postgresql.conf", "\nport = " . $node->port . "\nunix_socket_directories = '$socket'\nlisten_addresses = ''\nshared_preload_libraries = ''\nfsync = off\n");
	PostgreSQL::Test::Utils::system_or_bail('pg_ctl', '-s', '-w', '-t', '180', '-D', $data, '-l', "$socket/log", 'start');
	open(my $psql, '-|', 'psql', '-XAtq', '-h', $socket, '-p', $node->port, '-d', 'postgres', '-c', $sql) or die;
	my $answer = do { local $/; <$psql> };
	close($psql);
	PostgreSQL::Test::Utils::system_or_bail('pg_ctl', '-s', '-w', '-m', 'fast', '-D', $data, 'stop');
	system('rm', '-rf', $data);
	chomp($answer);
	return $answer;
}

# The SQLSTATE of a statement, and all messages that came with it.
sub call_verbosely
{
	my ($node, $sql) = @_;
	my ($out, $err) = ('', '');
	my $status = $node->psql('postgres', $sql, stdout => \$out, stderr => \$err, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return ('00000', $err) if $status == 0;
	return ($err =~ /^.*?ERROR:  (\w{5}):/m ? $1 : 'none', $err);
}

# pgbench's invariants, and the structure of tables and indexes.
sub is_good_restore
{
	my ($restored, $name) = @_;
	is($restored->safe_psql('postgres', <<'SQL'), 't', "$name: sum of balances = sum of deltas");
SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT coalesce(sum(delta), 0) FROM pgbench_history)
   AND (SELECT sum(bbalance) FROM pgbench_branches) = (SELECT coalesce(sum(delta), 0) FROM pgbench_history)
   AND (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT coalesce(sum(delta), 0) FROM pgbench_history)
SQL
	$restored->safe_psql('postgres', 'CREATE EXTENSION IF NOT EXISTS amcheck');
	$restored->command_ok([ 'pg_amcheck', '--heapallindexed', '-d', 'postgres' ],
		"$name: pg_amcheck");
	return;
}

1;
