# Random calls from several sessions against a model of the transition table:
# every result and every SQLSTATE must be the one the model gives.
use strict;
use warnings;

use EseClient;
use EseTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $calls = $ENV{ESE_MODEL_CALLS} // 12000;
my $seed = $ENV{ESE_MODEL_SEED} // time();
srand($seed);
note("seed $seed");

my $node = new_node('main', conf => "autovacuum = off\nfsync = off\n");
my $id = start_instance($node, 'main', max_open_files => 3, backup_threads => 2);
my @sessions = map { EseClient::connect_to(dsn($node)) } 1 .. 3;
$_->{PrintWarn} = 0 for @sessions;
$_->do('SET client_min_messages = error') for @sessions;

# What the model knows.  phase: none, databases, logs.
my %m = (phase => 'none', stopped => 0, handles => {}, backup => undef, files => {}, logs => {});
my @old_handles = (1, -1, 0, 2147483647);
my @attached;
my @log_names;
my (%seen, @log);

sub pick { return $_[ int(rand(@_)) ]; }

# One value and the SQLSTATE.
sub call
{
	my ($sql, @bind) = @_;
	my $dbh = pick(@sessions);
	my @row = eval { $dbh->selectrow_array($sql, undef, @bind) };
	return ($@ ? $dbh->state : '00000', @row);
}

sub expect
{
	my ($what, $expected, $got) = @_;
	push @log, "$what: $got";
	shift @log if @log > 20;
	$seen{"$what $expected"}++;
	return 1 if $expected eq $got;
	fail("$what: expected $expected, got $got");
	diag("seed $seed; last calls:\n" . join("\n", @log));
	done_testing();
	exit(1);
}

sub is_open { return $m{phase} ne 'none'; }
sub reset_model { $m{phase} = 'none'; $m{stopped} = 0; push @old_handles, keys %{ $m{handles} }; $m{handles} = {}; $m{files} = {}; $m{logs} = {}; return; }

# The result of the calls that read, before their own arguments matter.
sub gate
{
	return 'J0520' if !is_open();
	return 'J0801' if $m{stopped};
	return '';
}

sub begin
{
	my ($state) = call("SELECT ese_begin_external_backup_instance($id, 0, 'model')");
	expect('Begin', is_open() ? 'J0505' : '00000', $state);
	if ($state eq '00000')
	{
		$m{phase} = 'databases';
		(undef, $m{backup}) = call("SELECT ese_backup_id($id)");
		@attached = @{ $sessions[0]->selectcol_arrayref("SELECT file_name FROM ese_get_attach_info_instance($id) WHERE kind <> 'directory' AND file_size < 600000") };
	}
	return;
}

sub begin_badly
{
	my ($state) = call("SELECT ese_begin_external_backup_instance($id, " . pick(2, 4, 16, 64, -1) . ')');
	expect('Begin, unknown option', 'J0900', $state);
	($state) = call("SELECT ese_begin_external_backup_instance($id, 1)");
	expect('Begin, incremental', 'J0526', $state);
	return;
}

sub attach_info
{
	my ($state, $count) = call("SELECT count(*) FROM ese_get_attach_info_instance($id)");
	expect('GetAttachInfo', gate() || '00000', $state);
	return;
}

sub open_file
{
	my $kind = pick('attached', 'attached', 'attached', 'log', 'other');
	$kind = 'other' if $kind eq 'attached' && !@attached || $kind eq 'log' && !@log_names;
	my $name = $kind eq 'attached' ? pick(@attached[ 0 .. 9 ]) : $kind eq 'log' ? pick(@log_names) : pick('nothing', '../x', 'pg_wal/x');
	my $offset = pick(0, 0, 0, 8192);
	my ($state, $handle, $size) = call("SELECT * FROM ese_open_file_instance($id, ?, ?)", $name, $offset);
	my $list = $m{phase} eq 'logs' ? 'logs' : 'files';
	my $known = $kind eq 'attached' ? 'attached' : $m{phase} eq 'logs' && $m{lognames}{$name} ? 'log' : 'other';
	my $expected = gate();
	if (!$expected)
	{
		my $file = $m{$list}{$name} //= {};
		if ($m{phase} eq 'databases')
		{
			$expected = $known eq 'attached' ? '' : 'J1203';
		}
		else
		{
			$expected = $known eq 'attached' ? 'J0521' : $known eq 'log' ? '' : 'J0569';
		}
		$expected ||= $file->{open} ? 'J1032'
		  : $offset != 0 && $offset != ($file->{resume} // 0) ? 'J1003'
		  : keys %{ $m{handles} } >= 3 ? 'J1011' : '00000';
		if ($state eq '00000' && $expected eq '00000')
		{
			$m{handles}{$handle} = { file => $file, position => $offset, size => $size, previous => undef };
			$file->{open} = 1;
		}
	}
	expect("OpenFile $known", $expected, $state);
	return;
}

sub read_file
{
	my $handle = pick(keys %{ $m{handles} }, keys %{ $m{handles} }, @old_handles[ 0 .. 3 ]);
	my $bytes = pick(8192, 16384, 262144, 1048576, 16777216, 0, 100, -8192, 16785408);
	my $h = $m{handles}{$handle};
	my $offset = pick(undef, undef, 8192 * int(rand(3)), $h ? ($h->{position}, $h->{previous}) : ());
	my ($state, $length) = call("SELECT length(ese_read_file_instance($id, ?, ?, ?))", $handle, $bytes, $offset);
	my $expected = gate();
	$expected ||= 'J1003' if $bytes < 8192 || $bytes > 16777216 || $bytes % 8192;
	$expected ||= 'J1003' if !$h;
	my ($from, $result);
	if (!$expected)
	{
		$from = !defined $offset || $offset == $h->{position} ? $h->{position}
		  : defined $h->{previous} && $offset == $h->{previous} ? $h->{previous} : undef;
		$expected = defined $from ? '00000' : 'J1003';
		if (defined $from)
		{
			$result = $h->{size} - $from < $bytes ? $h->{size} - $from : $bytes;
			if ($result > 0)
			{
				$h->{previous} = $from;
				$h->{position} = $from + $result;
			}
		}
	}
	expect('ReadFile', $expected, $state);
	expect('ReadFile, length', $result, $length) if defined $result;
	return;
}

sub close_file
{
	my $handle = pick(keys %{ $m{handles} }, keys %{ $m{handles} }, @old_handles[ 0 .. 3 ]);
	my ($state) = call("SELECT ese_close_file_instance($id, ?)", $handle);
	my $h = $m{handles}{$handle};
	expect('CloseFile', !is_open() ? 'J0520' : $h ? '00000' : 'J1003', $state);
	if ($h && $state eq '00000')
	{
		my $file = $h->{file};
		$file->{open} = 0;
		if ($h->{position} == $h->{size})
		{
			$file->{done} = 1;
			$file->{resume} = 0;
		}
		else
		{
			$file->{resume} = $h->{position};
		}
		delete $m{handles}{$handle};
		unshift @old_handles, $handle;
	}
	return;
}

sub log_info
{
	my $dbh = $sessions[0];
	my $rows = eval { $dbh->selectcol_arrayref("SELECT file_name FROM ese_get_log_info_instance($id)") };
	my $state = $@ ? $dbh->state : '00000';
	expect('GetLogInfo', gate() || (keys %{ $m{handles} } ? 'J0521' : '00000'), $state);
	if ($state eq '00000')
	{
		$m{phase} = 'logs';
		@log_names = @$rows;
		$m{lognames} = { map { $_ => 1 } @$rows };
	}
	return;
}

sub end_backup
{
	my $grbit = pick(1, 2, 0, 3, 0x101, 0x202);
	my ($state, $result) = call("SELECT ese_end_external_backup_instance($id, $grbit)");
	my $bits = $grbit & 3;
	expect('End', $bits == 0 || $bits == 3 ? 'J1003' : !is_open() ? 'J0520' : '00000', $state);
	return if $state ne '00000';
	# with nothing but a few files read no backup of the model is good
	expect('End, result', $bits == 2 ? 0 : $m{stopped} ? -801 : -800, $result);
	my ($status) = $sessions[0]->selectrow_array("SELECT status FROM ese_backup_history WHERE backup_id = $m{backup}");
	expect('End, status', $m{stopped} ? 'aborted by server' : 'aborted by caller', $status);
	reset_model();
	return;
}

sub stop
{
	my ($state) = call("SELECT ese_stop_backup_instance($id)");
	expect('Stop', '00000', $state);
	$m{stopped} = 1 if is_open();
	return;
}

sub term
{
	my ($state) = call("SELECT ese_term($id)");
	expect('Term', is_open() ? 'J0505' : '00000', $state);
	call("SELECT ese_init($id)") if $state eq '00000';
	return;
}

sub other_backup
{
	my ($state) = call("SELECT " . pick("ese_get_attach_info_instance($id, 999999)", "ese_open_file_instance($id, 'PG_VERSION', 0, 999999)",
		"ese_get_log_info_instance($id, 999999)", "ese_end_external_backup_instance($id, 1, 999999)", "ese_stop_backup_instance($id, true, 999999)"));
	expect('another backup', 'J0520', $state);
	return;
}

sub begin_and_go_on { begin(); open_file() for 1 .. 2; read_file() for 1 .. 4; return; }

my @actions = ((\&open_file) x 20, (\&read_file) x 40, (\&close_file) x 20, (\&attach_info) x 2, (\&log_info) x 4,
	(\&end_backup) x 2, (\&stop) x 1, (\&begin_and_go_on) x 6, \&begin_badly, \&other_backup, \&term);
for (1 .. $calls)
{
	pick(@actions)->();
}
pass("$calls steps and no difference");
# the walk must have been everywhere
for my $place ('Begin 00000', 'Begin J0505', 'OpenFile attached 00000', 'OpenFile attached J0521', 'OpenFile attached J0801', 'OpenFile attached J1032',
	'OpenFile attached J1011', 'OpenFile attached J1003', 'OpenFile attached J0520', 'OpenFile log 00000', 'OpenFile other J1203', 'OpenFile other J0569',
	'ReadFile 00000', 'ReadFile J0801', 'ReadFile J1003', 'CloseFile 00000', 'CloseFile J1003', 'CloseFile J0520', 'GetLogInfo 00000', 'GetLogInfo J0521',
	'GetLogInfo J0801', 'End 00000', 'End J0520', 'End J1003', 'Stop 00000', 'Term J0505', 'End, result -801', 'End, result -800', 'End, result 0')
{
	ok($seen{$place}, "$place: " . ($seen{$place} // 0));
}
my ($open) = call("SELECT ese_backup_id($id)");
call("SELECT ese_end_external_backup_instance($id, 2)");
nothing_held($node, 'in the end');

done_testing();
