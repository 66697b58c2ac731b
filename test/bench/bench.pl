# Measure reading a whole cluster over SQL against pg_basebackup: same data,
# same machine, alternating runs, medians.  Prints one table; asserts nothing.
#
#	make bench [BENCH="--scale 300 --runs 5"]
use strict;
use warnings;

use EseClient;
use File::Temp ();
use Getopt::Long;
use IO::Socket::INET;
use Time::HiRes qw(time);

my ($scale, $runs, $help) = (300, 5, 0);
GetOptions('scale=i' => \$scale, 'runs=i' => \$runs, 'help' => \$help) or $help = 1;
if ($help || $scale < 1 || $runs < 1)
{
	print "usage: bench.pl [--scale N] [--runs N]\n",
	  "  --scale N  size of the pgbench data, about 15 MB each (default 300)\n",
	  "  --runs N   runs of each row (default 5)\n";
	exit($help ? 0 : 1);
}

my $bin = `pg_config --bindir`;
chomp($bin);
$ENV{PATH} = "$bin:$ENV{PATH}";
my $home = File::Temp->newdir('/tmp/ese_bench.XXXXXX');
chmod(0700, "$home");
my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', LocalPort => 0);
my $port = $socket->sockport;
close($socket);
@ENV{qw(PGHOST PGPORT PGDATABASE)} = ("$home", $port, 'postgres');
my $dsn = "host=$home;port=$port;dbname=postgres";

sub run
{
	my $output = `@_ 2>&1`;
	die "@_:\n$output" if $? != 0;
	return;
}

END { system("pg_ctl -D $home/data -m immediate stop > /dev/null 2>&1") if $home; }

run("initdb --data-checksums --no-sync -A trust -D $home/data");
open(my $conf, '>>', "$home/data/postgresql.conf") or die;
print $conf <<CONF;
port = $port
listen_addresses = ''
unix_socket_directories = '$home'
shared_preload_libraries = 'ese'
fsync = off
autovacuum = off
max_wal_size = 8GB
checkpoint_timeout = 1h
CONF
close($conf);
run("pg_ctl -w -D $home/data -l $home/log start");
print STDERR "loading pgbench data, scale $scale ...\n";
run("pgbench -i -s $scale -q");
my $dbh = EseClient::connect_to($dsn);
$dbh->do('CREATE EXTENSION ese');
my $id = EseClient::value($dbh, "SELECT ese_create_instance('bench')");
$dbh->do("SELECT ese_init($id)");
$dbh->do('CHECKPOINT');

# CPU seconds of the server and of our children so far.  What ended processes
# have used is in their parents' sums.
sub cpu
{
	my $ticks = 0;
	my $postmaster = (split(/\n/, slurp("$home/data/postmaster.pid")))[0];
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

sub slurp
{
	my ($path) = @_;
	open(my $file, '<', $path) or return '';
	local $/;
	return <$file> // '';
}

# Read the attach list with so many streams; returns seconds, and bytes.
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
	my ($bytes, $left) = $dbh->selectrow_array('SELECT bytes_done, files_unassigned FROM ese_backup_progress');
	die "$left files were not read" if $left != 0;
	EseClient::value($dbh, "SELECT ese_end_external_backup_instance($id, 2)");
	return ($seconds, $bytes);
}

sub basebackup
{
	my $begun = time();
	run('pg_basebackup -Ft -D - -X none --checkpoint=fast > /dev/null');
	return time() - $begun;
}

my $call = 'CALL ese_copy_stream(%d, %d)';
my $copy = 'COPY (SELECT ese_read_stream_instance(%d, %d)) TO STDOUT (FORMAT binary)';
my @rows = (
	[ 'CALL ese_copy_stream, 1 connection', sub { streams(1, $call) } ],
	[ 'CALL ese_copy_stream, 2 connections', sub { streams(2, $call) } ],
	[ 'COPY (SELECT ese_read_stream_instance), 1', sub { streams(1, $copy) } ],
);

sub median { my @sorted = sort { $a <=> $b } @_; return $sorted[ $#sorted / 2 ]; }

my (%ours, %peer, %burnt, $bytes);
# nothing of the loading may go on, and the page cache must be warm
run('sync');
basebackup();
$_->[1]->() for @rows;
for my $run (1 .. $runs)
{
	for my $row (@rows)
	{
		my ($name, $work) = @$row;
		my $before = cpu();
		my ($seconds, $read) = $work->();
		push @{ $burnt{$name} }, cpu() - $before;
		push @{ $ours{$name} }, $seconds;
		push @{ $peer{$name} }, basebackup();
		$bytes = $read;
	}
	print STDERR "run $run of $runs\n";
}

printf "%.2f GB, %d runs, medians; peer: pg_basebackup -Ft -D - -X none > /dev/null\n\n", $bytes / 1e9, $runs;
print "| work | ours s | peer s | ratio | min | max | GB/s | CPU s/GB |\n|---|---|---|---|---|---|---|---|\n";
for my $row (@rows)
{
	my $name = $row->[0];
	my @ratios = map { $peer{$name}[$_] / $ours{$name}[$_] } 0 .. $runs - 1;
	my @sorted = sort { $a <=> $b } @ratios;
	printf "| %s | %.2f | %.2f | %.1f | %.1f | %.1f | %.1f | %.2f |\n", $name, median(@{ $ours{$name} }),
	  median(@{ $peer{$name} }), median(@ratios), $sorted[0], $sorted[-1], $bytes / 1e9 / median(@{ $ours{$name} }),
	  median(@{ $burnt{$name} }) / ($bytes / 1e9);
}
