-- Errors, constants and what is made from them.
SELECT ese_error_name(-801), ese_error_name(0), ese_error_name(-4242) IS NULL AS unknown;
SELECT ese_grbit('JET_bitBackupIncremental | JET_bitBackupAtomic');
SELECT ese_grbit('JET_bitStopServiceResume');
SELECT ese_check(0), ese_check(578);
SELECT number, name, sqlstate, category, raised, backup_after, retry
  FROM ese_error WHERE number IN (-801, -800, -505, -1018, -1811, -506) ORDER BY number;
SELECT count(*), count(DISTINCT number), count(*) FILTER (WHERE raised) > 20 AS many_raised,
       bool_and(raised = (backup_after IS NOT NULL) AND raised = (retry IS NOT NULL)) AS complete
  FROM ese_error;
SELECT * FROM ese_constant WHERE name IN ('JET_bitTermStopBackup', 'JET_sesidNil', 'BACKUP_STATUS.backupStateDatabases') ORDER BY name;
-- every raised error has a SQLSTATE of class J
SELECT count(*) FROM ese_error WHERE raised AND sqlstate !~ '^J[0-9]{4}$';
\set VERBOSITY sqlstate
SELECT ese_check(-801);
SELECT ese_check(-1018);
SELECT ese_check(NULL);
SELECT ese_grbit('JET_bitNothing');
SELECT ese_grbit('');
SELECT ese_grbit(NULL);
SELECT ese_error_name(NULL);
\set VERBOSITY default
SELECT ese_check(-801);
SELECT ese_grbit('JET_bitBackupAtomic | nonsense');
DO $$
BEGIN
	PERFORM ese_check(-801);
EXCEPTION WHEN SQLSTATE 'J0801' THEN
	RAISE NOTICE 'caught %', SQLSTATE;
END $$;
