# Measure backups against other tools: same data, same machine, alternating
# runs, medians.  Prints tables; asserts nothing.
#
#	make bench [BENCH="--scale 300 --runs 5"]
use strict;
use warnings;

use EseClient;
use File::Temp ();
use Getopt::Long;
use IO::Handle;
use IO::Socket::INET;
use Time::HiRes qw(time usleep);

my %option = (scale => 300, runs => 5, tables => 10_000, files => 200_000, stops => 200, only => '.', dir => '/tmp');
GetOptions(\%option, 'scale=i', 'runs=i', 'tables=i', 'files=i', 'stops=i', 'only=s', 'dir=s', 'help') or $option{help} = 1;
if ($option{help} || $option{scale} < 1 || $option{runs} < 1)
{
	print <<'USAGE';
usage: bench.pl [OPTION ...]
  --scale N    size of the pgbench data, about 15 MB each (default 300)
  --runs N     runs of each row (default 5)
  --tables N   tables of the cluster of small files (default 10000)
  --files N    files for the measurement of memory (default 200000)
  --stops N    stops for the measurement of their latency (default 200)
  --only RE    only the rows whose name, or section, matches
  --dir DIR    where everything is put (default /tmp)
sections: streams, native, pgbackrest, small, threads, sizes, stops, memory
USAGE
	exit($option{help} == 1 && @ARGV == 0 ? 0 : 1);
}

my $bin = `pg_config --bindir`;
chomp($bin);
$ENV{PATH} = "$bin:$ENV{PATH}";
my $home = File::Temp->newdir("$option{dir}/ese_bench.XXXXXX");
chmod(0700, "$home");
my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', LocalPort => 0);
my $port = $socket->sockport;
close($socket);
@ENV{qw(PGHOST PGPORT PGDATABASE)} = ("$home", $port, 'postgres');
my $dsn = "host=$home;port=$port;dbname=postgres";
my ($dbh, $id, $data);
my $out = "$home/out";
my $trash_count = 0;

END { system("pg_ctl -D $data -m immediate stop > /dev/null 2>&1") if $data; }

sub run
{
	my $output = `@_ 2>&1`;
	die "@_:\n$output" if $? != 0;
	return $output;
}

sub slurp
{
	my ($path) = @_;
	open(my $file, '<', $path) or return '';
	local $/;
	return <$file> // '';
}

sub wanted { return grep { $_ =~ /$option{only}/ } @_; }
sub say_now { print STDERR "@_\n"; return; }

# Memory that a virtual machine has never touched is slow the first time: let
# that be over before anything is measured.
sub touch_memory
{
	my ($kb) = slurp('/proc/meminfo') =~ /^MemAvailable:\s+(\d+)/m;
	say_now('touching memory ...');
	run('dd if=/dev/zero of=/dev/shm/ese_bench bs=1M count=' . int($kb / 1024 * 0.45) . '; rm -f /dev/shm/ese_bench');
	return;
}

# ---- clusters

# A fresh cluster with the extension; the former one is removed.
sub new_cluster
{
	if ($data)
	{
		$dbh->disconnect;
		run("pg_ctl -D $data -m immediate stop");
		run("rm -rf $data");
	}
	$data = "$home/data";
	run("initdb --data-checksums --no-sync -A trust -D $data");
	open(my $conf, '>>', "$data/postgresql.conf") or die;
	print $conf <<"CONF";
port = $port
listen_addresses = ''
unix_socket_directories = '$home'
shared_preload_libraries = 'ese'
fsync = off
autovacuum = off
max_wal_size = 16GB
checkpoint_timeout = 1h
max_locks_per_transaction = 1000
archive_command = 'pgbackrest --config=$home/pgbackrest.conf --stanza=bench archive-push %p'
CONF
	close($conf);
	run("pg_ctl -w -D $data -l $home/log start");
	$dbh = EseClient::connect_to($dsn);
	$dbh->do('CREATE EXTENSION ese');
	$id = EseClient::value($dbh, "SELECT ese_create_instance('bench')");
	$dbh->do("SELECT ese_init($id)");
	return;
}

sub load_pgbench
{
	my ($scale) = @_;
	say_now("loading pgbench data, scale $scale ...");
	new_cluster();
	run("pgbench -i -s $scale -q");
	settle();
	return;
}

# Nothing of the loading may go on.
sub settle
{
	$dbh->do('CHECKPOINT');
	run('sync');
	return;
}

# A warm page cache, for everybody: systems may drop what is not used for a
# while.
sub warm_up { run("find $data -type f -print0 | xargs -0 cat > /dev/null"); return; }

sub load_tables
{
	my ($count) = @_;
	say_now("making $count tables ...");
	new_cluster();
	for (my $i = 0; $i < $count; $i += 500)
	{
		$dbh->do("DO \$\$ BEGIN FOR i IN $i .. " . ($i + 499) . " LOOP
			EXECUTE format('CREATE TABLE t%s (a int PRIMARY KEY, b text, c int)', i);
			EXECUTE format('INSERT INTO t%s SELECT g, md5(g::text), g FROM generate_series(1, 20) g', i);
			EXECUTE format('CREATE INDEX ON t%s (b); CREATE INDEX ON t%s (c)', i, i);
		END LOOP; END \$\$");
	}
	settle();
	return;
}

# ---- measuring

# CPU seconds of the server and of our children so far.  What ended processes
# have used is in their parents' sums.
sub cpu
{
	my $ticks = 0;
	my $postmaster = (split(/\n/, slurp("$data/postmaster.pid")))[0];
	for my $stat (glob('/proc/[0-9]*/stat'))
	{
		my ($pid, $parent, @f) = slurp($stat) =~ /^(\d+) \(.*\) \S (\d+) (.*)$/s ? ($1, $2, split(/ /, $3)) : next;
		next if $pid != $postmaster && $parent != $postmaster;
		$ticks += $f[9] + $f[10];
		$ticks += $f[11] + $f[12] if $pid == $postmaster;
	}
	my (undef, undef, $user, $system) = times();
	return $ticks / 100 + $user + $system;
}

# Give back the space of what was written, but keep its inodes until the end:
# for minutes ext4 avoids those of removed files, and searches long for others.
sub discard
{
	my $trash = "$home/trash" . ++$trash_count;
	mkdir($trash);
	rename($_, "$trash/" . s{.*/}{}r) for $out, glob("$home/repo/*");
	run("find $trash -type f -exec truncate -s 0 {} + && sync -f $home");
	return;
}

# Run something once, on empty ground: seconds, CPU seconds.
sub measure
{
	my ($work) = @_;
	discard();
	warm_up();
	my $cpu = cpu();
	my $begun = time();
	my $seconds = $work->();
	# some work knows better what is to be counted
	$seconds = time() - $begun if !defined $seconds;
	# what a process has used is counted when it has been waited for
	usleep(100_000);
	return ($seconds, cpu() - $cpu);
}

sub median { my @sorted = sort { $a <=> $b } @_; return $sorted[ $#sorted / 2 ]; }

sub set_parameters
{
	my (%parameters) = @_;
	my %all = (backup_format => 'tar', backup_compression => 'none', %parameters);
	$dbh->do("SELECT ese_set_system_parameter($id, '$_', '$all{$_}')") for sort keys %all;
	return;
}

# Bytes of the cluster, as the last good backup counted them.
sub cluster_bytes
{
	return EseClient::value($dbh, "SELECT bytes FROM ese_backup_history WHERE status = 'completed' ORDER BY backup_id DESC LIMIT 1");
}

# ---- ours

# Read the attach list with so many streams.
sub streams
{
	my ($count, $command) = @_;
	$dbh->do("SELECT ese_begin_external_backup_instance($id)");
	my $begun = time();
	my @pids;
	for (1 .. $count)
	{
		my $handle = EseClient::value($dbh, "SELECT ese_open_stream_instance($id)");
		my $sql = sprintf($command, $id, $handle);
		my $pid = fork() // die;
		exec("psql -XAtq -c \"$sql\" > /dev/null") if $pid == 0;
		push @pids, $pid;
	}
	for my $pid (@pids)
	{
		waitpid($pid, 0);
		die 'a reader failed' if $? != 0;
	}
	my $seconds = time() - $begun;
	EseClient::value($dbh, "SELECT count(ese_close_file_instance($id, handle)) FROM ese_backup_handle");
	die 'files were not read' if EseClient::value($dbh, 'SELECT files_unassigned FROM ese_backup_progress') != 0;
	EseClient::value($dbh, "SELECT ese_end_external_backup_instance($id, 2)");
	return $seconds;
}

my $call = 'CALL ese_copy_stream(%d, %d)';
my $copy = 'COPY (SELECT ese_read_stream_instance(%d, %d)) TO STDOUT (FORMAT binary)';

sub native
{
	my (%parameters) = @_;
	return sub {
		set_parameters(%parameters);
		$dbh->do("SELECT ese_backup_instance($id, '$out')");
		return;
	};
}

# ---- the others

sub command
{
	my ($command) = @_;
	return sub { run($command); return; };
}

my $basebackup = 'pg_basebackup --checkpoint=fast';
my $to_nothing = command("$basebackup -Ft -D - -X none > /dev/null");
my $plain_peer = command("$basebackup -Fp -D $out");

sub to_server { return command("$basebackup -Xfetch --target=server:$out --compress=$_[0]"); }

sub copy_tree
{
	run("cp -a $data $out && sync -f $out");
	return;
}

sub pgbackrest
{
	my ($compression) = @_;
	return command("pgbackrest --config=$home/pgbackrest.conf --stanza=bench --type=full --compress-type=$compression --no-archive-check --start-fast backup");
}

sub prepare_pgbackrest
{
	open(my $conf, '>', "$home/pgbackrest.conf") or die;
	print $conf "[global]\nrepo1-path=$home/repo\nlog-path=$home\nlock-path=$home\nspool-path=$home\nlog-level-console=error\nprocess-max=2\n[bench]\npg1-path=$data\npg1-socket-path=$home\npg1-port=$port\npg1-database=postgres\n";
	close($conf);
	mkdir("$home/repo");
	return;
}

# pgBackRest wants its stanza, which measure() has removed.
sub with_stanza
{
	my ($work) = @_;
	return sub {
		run("pgbackrest --config=$home/pgbackrest.conf --stanza=bench --no-online stanza-create");
		my $begun = time();
		$work->();
		return time() - $begun;
	};
}

# ---- rows of ours against a peer's

my @large = (
	[ 'streams', 'one connection, `CALL ese_copy_stream`', sub { streams(1, $call) }, 'pg_basebackup -Ft -D - -X none', $to_nothing ],
	[ 'streams', 'two connections, `CALL ese_copy_stream`', sub { streams(2, $call) }, 'the same', $to_nothing ],
	[ 'streams', 'one connection, `COPY (SELECT ese_read_stream_instance)`', sub { streams(1, $copy) }, 'the same', $to_nothing ],
	[ 'native', 'native plain', native(backup_format => 'plain'), 'pg_basebackup -Fp', $plain_peer ],
	[ 'native', 'native plain', native(backup_format => 'plain'), 'cp -a, sync -f', \&copy_tree ],
	[ 'native', 'native tar', native(), 'pg_basebackup -Ft', command("$basebackup -Ft -D $out") ],
	[ 'native', 'native tar, lz4', native(backup_compression => 'lz4'), 'pg_basebackup, server-lz4', to_server('server-lz4') ],
	[ 'native', 'native tar, zstd:1', native(backup_compression => 'zstd:1'), 'pg_basebackup, server-zstd:1', to_server('server-zstd:1') ],
	[ 'native', 'native tar, zstd:1', native(backup_compression => 'zstd:1'), 'the same, workers=2', to_server('server-zstd:level=1,workers=2') ],
	[ 'pgbackrest', 'native plain', native(backup_format => 'plain'), 'pgBackRest, none', with_stanza(pgbackrest('none')) ],
	[ 'pgbackrest', 'native tar, lz4', native(backup_compression => 'lz4'), 'pgBackRest, lz4', with_stanza(pgbackrest('lz4')) ],
	[ 'pgbackrest', 'native tar, zstd', native(backup_compression => 'zstd'), 'pgBackRest, zst', with_stanza(pgbackrest('zst')) ],
);

my @small = (
	[ 'small', 'native plain', native(backup_format => 'plain'), 'pg_basebackup -Fp', $plain_peer ],
	[ 'small', 'native tar', native(), 'pg_basebackup -Fp', $plain_peer ],
);

sub compare
{
	my @rows = grep { "$_->[0]: $_->[1]" =~ /$option{only}/ } @_;
	return if !@rows;
	prepare_pgbackrest() if grep { $_->[0] eq 'pgbackrest' } @rows;
	my @measured = map { { ours => [], peer => [], cpu => [], peer_cpu => [] } } @rows;
	# section by section: what is only read must not suffer from what others
	# have made of the system's memory by writing
	my @sections = do { my %seen; grep { !$seen{$_}++ } map { $_->[0] } @rows };
	for my $step (map { my $section = $_; map { [ $section, $_ ] } 1 .. $option{runs} } @sections)
	{
		my ($section, $run) = @$step;
		for my $r (grep { $rows[$_][0] eq $section } 0 .. $#rows)
		{
			my (undef, undef, $ours, undef, $peer) = @{ $rows[$r] };
			my ($seconds, $cpu) = measure($ours);
			push @{ $measured[$r]{ours} }, $seconds;
			push @{ $measured[$r]{cpu} }, $cpu;
			($seconds, $cpu) = measure($peer);
			push @{ $measured[$r]{peer} }, $seconds;
			push @{ $measured[$r]{peer_cpu} }, $cpu;
		}
		say_now("$section: run $run of $option{runs}");
	}
	measure(native());
	my $gigabytes = cluster_bytes() / 1e9;
	printf "%.2f GB in %d files, %d runs, medians\n\n", $gigabytes,
	  EseClient::value($dbh, "SELECT files FROM ese_backup_history WHERE status = 'completed' ORDER BY backup_id DESC LIMIT 1"), $option{runs};
	print "| ours | s | peer | s | ratio | min | max | GB/s | CPU s/GB | peer's |\n|---|---|---|---|---|---|---|---|---|---|\n";
	for my $r (0 .. $#rows)
	{
		my $m = $measured[$r];
		my @ratios = sort { $a <=> $b } map { $m->{peer}[$_] / $m->{ours}[$_] } 0 .. $option{runs} - 1;
		printf "| %s | %.2f | %s | %.2f | %.1f | %.1f | %.1f | %.1f | %.2f | %.2f |\n", $rows[$r][1], median(@{ $m->{ours} }),
		  $rows[$r][3], median(@{ $m->{peer} }), median(@ratios), $ratios[0], $ratios[-1], $gigabytes / median(@{ $m->{ours} }),
		  median(@{ $m->{cpu} }) / $gigabytes, median(@{ $m->{peer_cpu} }) / $gigabytes;
	}
	print "\n";
	return;
}

# ---- our own throughput

sub throughput
{
	my ($title, $values, $prepare) = @_;
	print "| $title | native tar GB/s | CPU s/GB | tar, zstd:1 GB/s | CPU s/GB | plain GB/s | CPU s/GB |\n|---|---|---|---|---|---|---|\n";
	for my $value (@$values)
	{
		$prepare->($value);
		my @cells;
		for my $parameters ({}, { backup_compression => 'zstd:1' }, { backup_format => 'plain' })
		{
			my (@seconds, @cpu);
			for my $run (1 .. $option{runs})
			{
				my ($seconds, $cpu) = measure(native(%$parameters));
				push @seconds, $seconds;
				push @cpu, $cpu;
			}
			my $gigabytes = cluster_bytes() / 1e9;
			push @cells, sprintf('%.1f | %.2f', $gigabytes / median(@seconds), median(@cpu) / $gigabytes);
		}
		print "| $value | ", join(' | ', @cells), " |\n";
		say_now("$title: $value");
	}
	print "\n";
	return;
}

# ---- the latency of stops, for the caller: threads compress a large file,
# readers are blocked

sub print_latencies
{
	my ($title, $seen, $told) = @_;
	my @sorted = sort { $a <=> $b } @$seen;
	my @receipts = sort { $a <=> $b } @$told;
	printf "| %s | %d | %.1f | %.1f | %.1f | %.1f |\n", $title, scalar(@sorted), median(@sorted), $sorted[ $#sorted * 0.99 ],
	  $sorted[-1], $receipts[ $#receipts * 0.99 ];
	return;
}

# Stop what is open, and end it: milliseconds as the caller sees them, and as
# the receipt tells them.
sub timed_stop
{
	my $begun = time();
	$dbh->do("SELECT ese_stop_backup_instance($id)");
	my $seen = 1000 * (time() - $begun);
	my $told = EseClient::value($dbh, 'SELECT extract(epoch FROM stop_latency) * 1000 FROM ese_backup_history ORDER BY backup_id DESC LIMIT 1');
	local $SIG{__WARN__} = sub { };
	EseClient::value($dbh, "SELECT ese_end_external_backup_instance($id)") if EseClient::value($dbh, "SELECT ese_backup_id($id)");
	return ($seen, $told);
}

# So many stops, each after some work has been begun.
sub stop_often
{
	my ($title, $count, $work) = @_;
	my (@seen, @told);
	for (1 .. $count)
	{
		$dbh->do("SELECT ese_begin_external_backup_instance($id)");
		$work->();
		my ($seen, $told) = timed_stop();
		push @seen, $seen;
		push @told, $told;
	}
	print_latencies($title, \@seen, \@told);
	say_now("stops: $title");
	return;
}

# A command that goes on until it is told to end.
sub beside
{
	my ($command, $work) = @_;
	my $pid = fork() // die;
	if ($pid == 0)
	{
		setpgrp();
		exec('sh', '-c', $command);
	}
	$work->();
	kill('TERM', -$pid);
	waitpid($pid, 0);
	return;
}

# A session that stays: the end of a process costs more CPU than a stop.
sub open_session
{
	open(my $psql, '|-', 'psql -XAtq > /dev/null 2>&1') or die;
	$psql->autoflush(1);
	return $psql;
}

sub stops
{
	my $file = "$data/large";
	run("dd if=/dev/urandom bs=1M count=64 status=none | tee /dev/null > $home/piece");
	run("for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do cat $home/piece; done > $file; rm $home/piece");
	set_parameters(backup_compression => 'zstd:9');
	my @readers = map { open_session() } 1 .. 4;
	my $read = sub {
		for my $psql (@readers)
		{
			my $handle = EseClient::value($dbh, "SELECT ese_open_stream_instance($id)");
			print $psql "CALL ese_copy_stream($id, $handle);\n";
		}
		usleep(100_000 + rand(200_000));
	};
	print "| stops | runs | median ms | p99 ms | longest ms | p99 by the receipts |\n|---|---|---|---|---|---|\n";
	stop_often('threads compress with zstd:9', $option{stops}, $read);
	# what a disk that syncs costs others
	run("pg_ctl -w -D $data -l $home/log -o '-c fsync=on' restart");
	$dbh = EseClient::connect_to($dsn);
	usleep(10_000) while EseClient::value($dbh, "SELECT state FROM ese_instance WHERE instance_id = $id") ne 'running';
	close($_) for @readers;
	@readers = map { open_session() } 1 .. 4;
	beside("while :; do dd if=/dev/zero of=$home/slow bs=1M count=256 conv=fsync status=none; done",
		sub { stop_often('the same, fsync on, beside `dd conv=fsync`', $option{stops}, $read) });
	unlink("$home/slow");
	EseClient::value($dbh, "SELECT ese_create_instance('beside')");
	beside("while :; do psql -XAtqc \"SELECT ese_set_system_parameter(ese_instance_id('beside'), 'history_limit', (100 + random() * 800)::int::text)\" > /dev/null; done",
		sub { stop_often('the same, beside another instance that sets parameters', $option{stops}, $read) });
	$dbh->do('SELECT ese_drop_instance(ese_instance_id($$beside$$))');
	close($_) for @readers;
	unlink($file);

	for (1 .. 1000)
	{
		$dbh->do("SELECT ese_begin_external_backup_instance($id)");
		$dbh->do("SELECT ese_end_external_backup_instance($id, 2)");
	}
	stop_often('a history of 1,000 rows', $option{stops}, sub { usleep(rand(20_000)) });

	# in the middle of GetLogInfo
	run("mkdir $data/many; cd $data/many && seq 1 300000 | xargs touch");
	my $lister = open_session();
	stop_often('GetLogInfo, 300,000 files', $option{stops} / 10, sub {
		print $lister "SELECT count(*) FROM ese_get_log_info_instance($id);\n";
		usleep(rand(400_000));
	});
	close($lister);
	run("rm -rf $data/many");
	print "\n";
	return;
}

# ---- memory of a worker, by number of files

# The most memory a fresh worker has had in a native backup; and its files.
sub peak_memory
{
	discard();
	$dbh->do("SELECT ese_term($id)");
	$dbh->do("SELECT ese_init($id)");
	native(backup_format => 'plain')->();
	my $worker = EseClient::value($dbh, "SELECT worker_pid FROM ese_instance WHERE instance_id = $id");
	my ($kb) = slurp("/proc/$worker/status") =~ /^VmHWM:\s+(\d+) kB/m;
	return ($kb, EseClient::value($dbh, 'SELECT files FROM ese_backup_history ORDER BY backup_id DESC LIMIT 1'));
}

sub memory
{
	run("mkdir $data/many; cd $data/many && seq 1 $option{files} | xargs touch");
	my ($peak, $files) = peak_memory();
	run("rm -rf $data/many");
	my ($small, $few) = peak_memory();
	printf "Memory of the worker: %d kB for %d files, %d kB for %d: %.0f bytes a file.\n\n", $peak, $files, $small, $few,
	  1024 * ($peak - $small) / ($files - $few);
	return;
}

# ---- everything

touch_memory() if wanted("streams", "native", "pgbackrest", "threads", "sizes", "small");
my $sections = 'streams native pgbackrest threads stops memory';
if (wanted(split(/ /, $sections)) || grep { "$_->[0]: $_->[1]" =~ /$option{only}/ } @large)
{
	load_pgbench($option{scale});
	compare(@large);
	throughput('threads', [ 1, 2, 4 ], sub { $dbh->do("SELECT ese_set_system_parameter($id, 'backup_threads', '$_[0]')") }) if wanted('threads');
	$dbh->do("SELECT ese_set_system_parameter($id, 'backup_threads', 'default')");
	stops() if wanted('stops');
	memory() if wanted('memory');
}
throughput('cluster of about GB', [ 0.5, 2, 8 ], sub { load_pgbench(int($_[0] * 65 * $option{scale} / 300)) }) if wanted('sizes');
if (wanted('small') || wanted('small'))
{
	load_tables($option{tables});
	compare(@small);
}
