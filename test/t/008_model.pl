# Random calls from several sessions against a model of the transition table:
# every result and every SQLSTATE must be the one the model gives.  Then a client
# that is interrupted anywhere, against the manifest.
use strict;
use warnings;

use DBD::Pg;
use Digest::SHA qw(sha256_hex);
use EseClient;
use EseTest;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

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
	expect('End', $grbit & 0x200 ? 'J0900' : $bits == 0 || $bits == 3 ? 'J1003' : !is_open() ? 'J0520' : '00000', $state);
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
	'GetLogInfo J0801', 'End 00000', 'End J0520', 'End J1003', 'End J0900', 'Stop 00000', 'Term J0505', 'End, result -801', 'End, result -800', 'End, result 0')
{
	ok($seen{$place}, "$place: " . ($seen{$place} // 0));
}
my ($open) = call("SELECT ese_backup_id($id)");
call("SELECT ese_end_external_backup_instance($id, 2)");
nothing_held($node, 'in the end');

# ---- A client that is interrupted anywhere, against what the manifest says.
#
# It reads files larger than the ring of a handle, which change meanwhile, in
# pieces of any size; a time-out, a cancel or the loss of its connection ends
# calls in the middle.  It does what the README says then: it says with
# at_offset what it has, copies what is left, or closes and goes on there.  In
# the end the manifest has the checksum of every byte that it has.
my $data = $node->data_dir;
my (%file, %did, $breaking);

# A number of pieces; most are larger than a ring of two frames.
sub some_bytes { return 8192 * pick(1, 1 + int(rand(40)), 70, 200, 700, 2048); }

sub change_file
{
	my ($name) = @_;
	return if !$file{$name}{changes};
	open(my $out, '+<:raw', "$data/$name") or die;
	for (1 .. 20)
	{
		seek($out, int(rand($file{$name}{size})), 0);
		syswrite($out, chr(int(rand(256))));
	}
	close($out);
	return;
}

sub make_file
{
	my ($name, $size, $changes) = @_;
	open(my $random, '<:raw', '/dev/urandom') or die;
	read($random, my $noise, $size) == $size or die;
	open(my $out, '>:raw', "$data/$name") or die;
	print $out $noise;
	close($out) or die;
	$file{$name} = { name => $name, size => $size, changes => $changes, noise => $noise };
	return;
}

# The session of a call that was broken off may still read.
sub until_free
{
	my ($work) = @_;
	for (1 .. 3000)
	{
		my @row = eval { $work->() };
		return @row if !$@;
		die $@ if $@ !~ /is being read by/;
		usleep(2000);
	}
	die 'its session does not end';
}

sub open_at
{
	my ($f, $offset) = @_;
	($f->{handle}) = $sessions[0]->selectrow_array('SELECT handle FROM ese_open_file_instance(?, ?, ?)', undef, $id, $f->{name}, $offset);
	$f->{copy} = substr($f->{copy} // '', 0, $offset);
	$did{$offset > 0 ? 'goes on' : 'opens'}++;
	return;
}

sub keep
{
	my ($f, $at, $piece) = @_;
	$f->{copy} = substr($f->{copy}, 0, $at) . $piece;
	$f->{previous} = $at if length($piece) > 0;
	$f->{asked_again} = $f->{lost} = 0;
	return;
}

sub piece_at
{
	my ($f, $at) = @_;
	return until_free(sub { return $sessions[0]->selectrow_array('SELECT ese_read_file_instance(?, ?, ?, ?)', undef, $id, $f->{handle}, some_bytes(), $at) });
}

# Was the previous piece, asked for again, delivered?  The position is the same.
sub is_unsure { my ($f) = @_; return $f->{asked_again} && $f->{asked_end} == length($f->{copy}); }

# The next piece, as the client sees it: what the server believes to be
# delivered may have been lost.  If that was the previous piece again, its end
# tells whether it was delivered; where it cannot, that piece is had once more.
sub next_piece
{
	my ($f) = @_;
	my $at = length($f->{copy});
	my $unsure = is_unsure($f);
	my ($piece) = $unsure ? () : eval { piece_at($f, $at) };
	if ($unsure || $@)
	{
		die $@ if !$unsure && ($sessions[0]->state ne 'J1003' || !$f->{asked_again});
		$at = $f->{previous};
		($piece) = piece_at($f, $at);
		$did{'reply to the previous piece lost'}++;
	}
	keep($f, $at, $piece);
	$did{reads}++;
	return;
}

sub previous_piece
{
	my ($f) = @_;
	my $at = $f->{previous} // return;
	my ($piece) = eval { $sessions[0]->selectrow_array('SELECT ese_read_file_instance(?, ?, ?, ?)', undef, $id, $f->{handle}, some_bytes(), $at) };
	if ($@)
	{
		# it is gone when the next one was asked for
		die $@ if $sessions[0]->state ne 'J1003';
		$did{'previous piece gone'}++;
		return next_piece($f);
	}
	keep($f, $at, $piece);
	$did{'previous piece'}++;
	return;
}

# Make sure that client and server agree how much there is; not by a read if it
# can be told otherwise, for that would mend what is to be looked at.
sub agree
{
	my ($f) = @_;
	my ($position) = $sessions[0]->selectrow_array('SELECT position FROM ese_backup_handle WHERE handle = ?', undef, $f->{handle});
	next_piece($f) if $f->{lost} || $position != length($f->{copy}) || is_unsure($f);
	return;
}

# A read that ends anywhere; its reply is lost if there was one.
sub broken_read
{
	my ($f) = @_;
	my $again = defined $f->{previous} && (is_unsure($f) || rand() < 0.3);
	my $at = $again ? $f->{previous} : length($f->{copy});
	my $bytes = pick(some_bytes(), 16777216);
	my $end = $at + $bytes < $f->{size} ? $at + $bytes : $f->{size};
	my $sql = "SELECT ese_read_file_instance($id, $f->{handle}, $bytes, $at)";
	# of several that were broken off any may have been the one
	$f->{asked_end} = $end if $again && (!$f->{asked_again} || $end == length($f->{copy}));
	$f->{asked_again} ||= $again;
	$f->{lost} ||= broken_call($sql) eq 'lost connection';
	return;
}

# One that comes when its statement has just ended, hits the next one.
sub end_time_out
{
	my ($session) = @_;
	return if eval { $session->do('SET statement_timeout = 0'); 1 };
	$session->do('SET statement_timeout = 0');
	return;
}

# A statement of a session of its own, which a time-out, a cancel or the end of
# its connection ends.  Returns which.
sub broken_call
{
	my ($sql) = @_;
	my $session = $breaking //= EseClient::connect_to(dsn($node));
	my $way = pick('time-out', 'cancel', 'lost connection');
	my $ms = 1 + int(rand(12));
	if ($way eq 'time-out')
	{
		$session->do("SET statement_timeout = $ms");
		my $ended = eval { $session->selectrow_array($sql); 1 };
		$did{$ended ? 'in time' : $way}++;
		die $@ if !$ended && $session->state !~ /^(57014|J1003)$/;
		end_time_out($session);
		return $way;
	}
	$session->do($sql, { pg_async => DBD::Pg::PG_ASYNC });
	usleep($ms * 1000);
	if ($way eq 'cancel')
	{
		$sessions[0]->do("SELECT pg_cancel_backend($session->{pg_pid})");
		$did{ eval { $session->pg_result; 1 } ? 'in time' : $way }++;
		return $way;
	}
	$did{$way}++;
	POSIX::close($session->{pg_socket});
	$session->{InactiveDestroy} = 1;
	undef $breaking;
	return $way;
}

# What is left, or a part of it: what arrived before a cancel or time-out, is
# what was sent.
sub copy_file
{
	my ($f) = @_;
	agree($f);
	my $session = $breaking //= EseClient::connect_to(dsn($node));
	my $ends = rand() < 0.7;
	$session->do('SET statement_timeout = ' . (1 + int(rand(12)))) if $ends;
	my $at = length($f->{copy});
	my $data = '';
	my $ended = eval {
		$session->do("CALL ese_copy_stream($id, $f->{handle})");
		$f->{copy} .= $data while $session->pg_getcopydata($data) >= 0;
		1;
	};
	die $@ if !$ended && $session->state !~ /^(57014|J1003)$/;
	$did{$ended ? 'copies' : 'broken copies'}++;
	end_time_out($session) if $ends;
	undef $f->{previous} if length($f->{copy}) > $at;
	return;
}

# Close where the client is, and go on there.
sub close_and_go_on
{
	my ($f) = @_;
	agree($f);
	my $at = length($f->{copy});
	until_free(sub { return $sessions[0]->selectrow_array('SELECT ese_close_file_instance(?, ?)', undef, $id, $f->{handle}) });
	undef $f->{previous};
	delete $f->{handle};
	if ($at == $f->{size}) { $f->{done} = 1; }
	elsif ($at > 0) { open_at($f, $at); }
	return;
}

# Everything that is to be tried, in one walk.
sub is_enough { return !grep { !$did{$_} } 'time-out', 'cancel', 'lost connection', 'goes on', 'previous piece', 'copies', 'broken copies'; }

sub read_interrupted
{
	my ($rings) = @_;
	%did = %file = ();
	make_file("noise$_", pick(5, 9, 14) * 1024 * 1024 + int(rand(300000)), $_ % 3) for 1 .. 6;
	# for a walk that would end too early
	make_file("more$_", 5 * 1024 * 1024, 1) for 1 .. 8;
	my @more = map { $file{"more$_"} } 1 .. 8;
	$_->{done} = 1 for @more;
	call("SELECT ese_begin_external_backup_instance($id)");
	open_at($_, 0) for @file{ map { "noise$_" } 1 .. 3 };
	for (;;)
	{
		my @left = grep { !$_->{done} } values %file;
		last if !@left && (is_enough() || !@more);
		if (!@left) { (shift @more)->{done} = 0; next; }
		my $f = pick(@left);
		open_at($f, 0) if !$f->{handle};
		pick((\&broken_read) x 6, (\&next_piece) x 2, (\&previous_piece) x 2, (\&copy_file) x 2, \&close_and_go_on)->($f);
		change_file($f->{name}) if rand() < 0.3;
	}
	ok(is_enough(), "$rings: " . join(', ', map { "$did{$_} $_" } sort keys %did));
	call("SELECT ese_get_log_info_instance($id)");
	my (undef, $handle) = call("SELECT handle FROM ese_open_file_instance($id, 'backup_manifest')");
	my (undef, $manifest) = call("SELECT ese_read_file_instance($id, $handle, 16777216, 0)");
	for my $f (grep { defined $_->{copy} } map { $file{$_} } sort keys %file)
	{
		my ($length, $checksum) = $manifest =~ /"Path": "$f->{name}", "Size": (\d+), .*?"Checksum": "([0-9a-f]+)"/;
		is("$length $checksum", length($f->{copy}) . ' ' . sha256_hex($f->{copy}), "$rings: the manifest says of $f->{name} what its client has");
		ok($f->{copy} eq $f->{noise}, "$rings: which is the file") if !$f->{changes};
	}
	call("SELECT ese_end_external_backup_instance($id, 2)");
	return;
}

for my $rings ([ 'rings of 16 frames', 6 ], [ 'rings of 2 frames', 127 ])
{
	call("SELECT ese_term($id)");
	call("SELECT ese_set_system_parameter($id, 'max_open_files', '$rings->[1]')");
	call("SELECT ese_set_system_parameter($id, 'manifest_checksums', 'sha256')");
	call("SELECT ese_init($id)");
	read_interrupted($rings->[0]);
	nothing_held($node, "$rings->[0]: nothing is held");
}

done_testing();
