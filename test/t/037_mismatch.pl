# An SQL script that does not match the library: every function that is
# declared otherwise than the library expects is an error, not a crash.
use strict;
use warnings;

use EseClient;
use EseTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
my $id = start_instance($node, 'main');
my $dbh = EseClient::connect_to(dsn($node));
# no view is empty
append_to_file($node->data_dir . '/base/5/99999', "\0" x 8 . 'x' x 8184);
fails_with($dbh, 'J1018', "SELECT ese_backup_instance($id, '" . PostgreSQL::Test::Utils::tempdir() . "/damaged')");
$dbh->do('SET client_min_messages = error');
EseClient::value($dbh, "SELECT ese_begin_external_backup_instance($id)");
my ($handle) = $dbh->selectrow_array("SELECT * FROM ese_open_file_instance($id, 'PG_VERSION')");
my $started = EseClient::value($dbh, 'SELECT pg_postmaster_start_time()');
my $pid = EseClient::value($dbh, 'SELECT pg_backend_pid()');

# name, symbol, procedure?, set?, result, arguments, columns of the result
my $functions = $dbh->selectall_arrayref(<<'SQL', { Slice => {} });
SELECT proname, prosrc, prokind = 'p' AS procedure, proretset AS set, prorettype::regtype::text AS result,
       (SELECT coalesce(string_agg(t::regtype::text, ',' ORDER BY o), '') FROM unnest(proargtypes) WITH ORDINALITY u(t, o)) AS arguments,
       (SELECT coalesce(string_agg(proallargtypes[o]::regtype::text, ',' ORDER BY o), '')
          FROM unnest(proargmodes) WITH ORDINALITY u(m, o) WHERE m = 'o') AS columns
  FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass JOIN pg_extension e ON e.oid = d.refobjid AND d.deptype = 'e'
 WHERE e.extname = 'ese' AND prolang = (SELECT oid FROM pg_language WHERE lanname = 'c') ORDER BY prosrc
SQL
cmp_ok(scalar(@$functions), '>', 30, 'the extension has functions');

my %swapped = (integer => 'text', text => 'integer', bigint => 'text', boolean => 'text', bytea => 'integer', oid => 'text', interval => 'integer',
	'timestamp with time zone' => 'text', pg_lsn => 'text', jsonb => 'integer');
my %value = (integer => $id, bigint => 1, text => "'main'", boolean => 'true', bytea => "'x'");
my $number = 0;

# Declare the function in this way, and call it; what came of it.
sub try_declaration
{
	my ($f, $result, $arguments, $columns) = @_;
	my $name = 'wrong_' . $number++;
	my @in = map { "a$_ $arguments->[$_]" } 0 .. $#$arguments;
	my @out = map { "OUT c$_ $columns->[$_]" } 0 .. $#$columns;
	my $returns = $f->{procedure} ? '' : 'RETURNS ' . ($f->{set} ? 'SETOF ' : '') . (@$columns == 1 ? $columns->[0] : $result);
	my $kind = $f->{procedure} ? 'PROCEDURE' : 'FUNCTION';
	$dbh->do("CREATE $kind $name(" . join(', ', @in, @out) . ") $returns AS '\$libdir/ese', '$f->{prosrc}' LANGUAGE C");
	my @values = map { $arguments->[$_] eq 'integer' && $_ == 1 ? $handle : $value{ $arguments->[$_] } // 'NULL' } 0 .. $#$arguments;
	my $list = join(', ', @values);
	return error_of($dbh, $f->{procedure} ? "CALL $name($list)" : $f->{set} && !@$columns ? "SELECT $name($list)" : "SELECT * FROM $name($list)");
}

my (@wrong, $hint);
for my $f (@$functions)
{
	my @arguments = split(/,/, $f->{arguments});
	my @columns = split(/,/, $f->{columns});
	my $result = $f->{result} eq '-' ? 'void' : $f->{result};
	my @ways = ([ 'one argument more', $result, [ @arguments, 'text' ], \@columns ]);
	push @ways, [ 'one argument less', $result, [ @arguments[ 0 .. $#arguments - 1 ] ], \@columns ],
	  [ 'arguments of other types', $result, [ map { $swapped{$_} // 'text' } @arguments ], \@columns ]
	  if @arguments;
	push @ways, [ 'another result', $swapped{$result} // 'text', \@arguments, \@columns ] if !@columns && !$f->{procedure};
	push @ways, [ 'one column more', $result, \@arguments, [ @columns, 'text' ] ],
	  [ 'one column less', $result, \@arguments, [ @columns[ 0 .. $#columns - 1 ] ] ],
	  [ 'columns of other types', $result, \@arguments, [ map { $swapped{$_} // 'text' } @columns ] ]
	  if @columns;
	for my $way (@ways)
	{
		my ($what, @declaration) = @$way;
		my $state = eval { try_declaration($f, @declaration) } // "died: $@";
		push @wrong, "$f->{prosrc}, $what: $state" if $state ne '42P13';
		$hint //= $dbh->errstr;
		last if !$dbh->ping;
	}
}
is(join("\n", @wrong), '', 'every function that is declared otherwise is refused');
like($hint, qr/does not match the library.*DETAIL:  It is declared as .*HINT:  Run ALTER EXTENSION ese UPDATE/s, 'with what to do');
is(eval { EseClient::value($dbh, 'SELECT pg_backend_pid()') }, $pid, 'the session is alive');
is(EseClient::value(EseClient::connect_to(dsn($node)), 'SELECT pg_postmaster_start_time()'), $started, 'so is the server');
is(EseClient::value($dbh, "SELECT ese_end_external_backup_instance($id, 2)"), 0, 'and the backup that was open');

done_testing();
