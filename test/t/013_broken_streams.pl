# Streams whose clients are killed at random: what is resumed or replaced,
# loses and repeats nothing.
use strict;
use warnings;

use EseClient;
use EseTest;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = new_node('main', conf => "autovacuum = off\n");
my $data = $node->data_dir;
$node->command_ok([ 'pgbench', '-i', '-s', '5', '-q', 'postgres' ], 'pgbench data');
my $id = start_instance($node, 'main', backup_threads => 2);
my $dbh = EseClient::connect_to(dsn($node));
my $work = PostgreSQL::Test::Utils::tempdir();
my $connection = $node->connstr('postgres');
my ($kills, $parts) = (0, 0);

# A psql that writes a stream to the end of a file.
sub start_client
{
	my ($handle, $file) = @_;
	my $pid = fork() // die;
	if ($pid == 0)
	{
		open(STDOUT, '>>', $file) or die;
		open(STDERR, '>', '/dev/null') or die;
		exec('psql', '-XAtq', '-d', $connection, '-c', "CALL ese_copy_stream($id, $handle)");
	}
	return $pid;
}

sub files_done { return $dbh->selectrow_array('SELECT files_done FROM ese_backup_progress'); }

# The session of a client that was killed ends when it notices.
sub when_free
{
	my ($sql) = @_;
	for (1 .. 500)
	{
		my @row = eval { $dbh->selectrow_array($sql) };
		return @row if @row;
		die $@ if $dbh->errstr !~ /is being read by/;
		usleep(10000);
	}
	die 'its session has not ended';
}

# Read what is left in the queue with three clients, of which some are killed:
# then their streams are resumed, or thrown away and replaced.
sub read_all
{
	my ($label) = @_;
	my (@files, %client);
	my $open = sub {
		my $file = "$work/$label" . ++$parts;
		my $handle = EseClient::value($dbh, "SELECT ese_open_stream_instance($id)");
		$client{start_client($handle, $file)} = [ $handle, $file, 0 ];
	};
	$open->() for 1 .. 3;
	while (%client)
	{
		usleep(int(rand(30000)));
		my @running = sort keys %client;
		if ($kills < 60 && rand() < 0.7)
		{
			kill('KILL', $running[ int(rand(@running)) ]);
			$kills++;
		}
		for my $pid (@running)
		{
			next if waitpid($pid, POSIX::WNOHANG()) == 0;
			my $status = $?;
			my ($handle, $file, $base) = @{ delete $client{$pid} };
			if ($status == 0)
			{
				when_free("SELECT ese_close_file_instance($id, $handle)");
				push @files, $file;
			}
			elsif (rand() < 0.7)
			{
				my $received = (-e $file ? -s $file : 0) - $base;
				my ($new, $keep) = when_free("SELECT * FROM ese_resume_stream_instance($id, $handle, $received)");
				$base += $keep;
				truncate($file, $base) or die if -e $file;
				$client{start_client($new, $file)} = [ $new, $file, $base ];
			}
			else
			{
				# one that was killed after its goodbye has received all of
				# it: what counts, must be there; or nothing of it is wanted
				my $before = files_done();
				($handle) = when_free("SELECT new_handle FROM ese_resume_stream_instance($id, $handle, 0)") if rand() < 0.5;
				when_free("SELECT ese_close_file_instance($id, $handle)");
				my $counts = files_done() > $before;
				# what was resumed before, counts
				truncate($file, $base) or die if !$counts && -e $file;
				if ($counts || $base > 0) { push @files, $file; }
				else { unlink($file); }
			}
		}
		$open->() if !%client && $dbh->selectrow_array('SELECT files_unassigned FROM ese_backup_progress') > 0;
	}
	return @files;
}

for my $compression (qw(none lz4 zstd:1))
{
	my $unpack = { none => 'cat', lz4 => 'lz4 -dcq', 'zstd:1' => 'zstd -dcq' }->{$compression};
	$dbh->do("SELECT ese_set_system_parameter($id, 'backup_compression', '$compression')");
	$kills = 0;
	$dbh->do("SELECT ese_begin_external_backup_instance($id)");
	my @files = read_all('data');
	is($dbh->selectrow_array('SELECT files_done = files_total AND files_in_streams = 0 FROM ese_backup_progress'), 1,
		"$compression: after $kills kills all files are there");
	$dbh->do("SELECT ese_get_log_info_instance($id)");
	push @files, read_all('logs');
	is(EseClient::value($dbh, "SELECT ese_end_external_backup_instance($id)"), 0, "$compression: the backup is good");
	my $directory = "$work/" . $compression =~ s/\W//gr;
	mkdir($directory, 0700);
	my @names;
	for my $file (@files)
	{
		push @names, grep { !m{/$} } split(/\n/, `$unpack $file | tar -tf -`);
		system_or_bail('sh', '-c', "$unpack $file | tar -C $directory -xf -");
	}
	my %seen;
	is(join(' ', grep { $seen{$_}++ } @names), '', "$compression: no file comes twice");
	command_ok([ 'pg_verifybackup', '-q', $directory ], "$compression: pg_verifybackup");
	nothing_held($node, "$compression: nothing is held");
}
$dbh->do("SELECT ese_set_system_parameter($id, 'backup_compression', 'none')");

done_testing();
