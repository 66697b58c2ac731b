/*-------------------------------------------------------------------------
 *
 * call.h
 *	  How a session has the worker of an instance do something.
 *
 * A session fills a Request and calls call_execute(), which waits for the
 * Answer; requests are served in the order of their tickets.  The wait can
 * be interrupted at any time.  A requester that leaves before the answer
 * marks its call abandoned, and the worker undoes what must not stay (a
 * Begin nobody knows of).
 *
 * Calls live in the instance's slot and are changed under its lock.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_CALL_H
#define ESE_CALL_H

#include "datatype/timestamp.h"

#define ESE_MESSAGE_LENGTH	512
#define ESE_ADDRESS_LENGTH	64
#define ESE_OPTIONS_LENGTH	4096

struct EseInstance;

typedef enum CallOperation
{
	OP_BEGIN,					/* grbit, text: label */
	OP_ATTACH_INFO,				/* cursor: entries the caller has */
	OP_OPEN_FILE,				/* text: name; number: start offset */
	OP_OPEN_STREAM,
	OP_RESUME_STREAM,			/* handle; number: bytes received */
	OP_CLOSE_FILE,				/* handle */
	OP_LOG_INFO,				/* cursor */
	OP_UNREAD_FILES,			/* cursor */
	OP_END,						/* grbit */
	OP_TRUNCATE_LOG,
	OP_BACKUP,					/* grbit, text: label, path */
	OP_RESTORE,					/* text: source, path: destination, options */
	OP_VERIFY,					/* text: depth, path: source, options */
	OP_TERM,					/* grbit */
} CallOperation;

/* Who asks: for progress, history and messages. */
typedef struct Client
{
	Oid			role;
	char		role_name[NAMEDATALEN];
	char		address[ESE_ADDRESS_LENGTH];	/* empty for local ones */
	char		application[NAMEDATALEN];
} Client;

typedef struct Request
{
	CallOperation operation;
	int64		backup;			/* 0: whichever is open */
	int32		grbit;
	int32		handle;
	int64		number;
	Client		client;
	char text[	MAXPGPATH];
	char		path[MAXPGPATH];

	/* lines "key<tab>value<tab>value", see restore.c */
	char		options[ESE_OPTIONS_LENGTH];
} Request;

typedef struct Answer
{
	int			error;			/* JetErr that is raised; 0 for none */
	char		sqlstate[6];	/* instead of the JET error's, if not empty */
	char		message[ESE_MESSAGE_LENGTH];
	char		detail[ESE_MESSAGE_LENGTH]; /* further facts */
	char		hint[ESE_MESSAGE_LENGTH];
	int32		result;			/* what the function returns */
	int64		backup;			/* the open backup's id */
	int64		number;			/* a size, the place in a list */
	char		warning[ESE_MESSAGE_LENGTH];	/* raised as a WARNING */
	int			warning_error;	/* its JetErr, or 0 */
	int			page_length;	/* bytes in the answer frame */
	bool		page_last;		/* no entries follow */
} Answer;

typedef enum CallState
{
	CALL_FREE,					/* next: QUEUED */
	CALL_QUEUED,				/* next: SERVED; FREE when abandoned */
	CALL_SERVED,				/* the worker is at it; next: ANSWERED,
								 * ABANDONED */
	CALL_ANSWERED,				/* next: FREE; ABANDONED when a Begin that
								 * succeeded was not collected */
	CALL_ABANDONED,				/* the requester left; next: FREE, by the
								 * worker */
	CALL_ORPHANED,				/* it died, which is no reason to undo the
								 * call; next: FREE, by the worker */
} CallState;

typedef struct Call
{
	CallState	state;
	uint64		ticket;
	Request		request;
	Answer		answer;
} Call;

/*
 * Session: have the worker serve a request, and wait for it.  An answer that
 * is an error is raised.  The page of a long answer is copied into *page (in
 * the current memory context).
 */
extern void call_execute(struct EseInstance *instance, const Request *request,
						 Answer *answer, char **page);

/* Session: fill in who asks. */
extern void client_describe(Client *client);

/* Worker: the oldest queued call that can be served now, or NULL. */
extern Call *call_next(struct EseInstance *instance);

/* Worker: it is served later. */
extern void call_put_back(struct EseInstance *instance, Call *call);

/* Worker: hand over the answer.  False: its requester has left. */
extern bool call_answer(struct EseInstance *instance, Call *call);

/* Worker: the next Begin that succeeded and was abandoned; it is freed. */
extern bool call_take_abandoned_begin(struct EseInstance *instance,
									  int64 *backup);

/* Worker: did the requester of the call being served leave? */
extern bool call_is_abandoned(struct EseInstance *instance, Call *call);

/* Worker: answers calls its predecessor was serving when it died. */
extern void call_reset(struct EseInstance *instance);

/* Worker: make the answer an error.  Detail and hint may be added after. */
extern void answer_error(Answer *answer, int jet, const char *format,...) pg_attribute_printf(3, 4);
extern void answer_detail(Answer *answer, const char *format,...) pg_attribute_printf(2, 3);
extern void answer_hint(Answer *answer, const char *format,...) pg_attribute_printf(2, 3);
extern void answer_warning(Answer *answer, int jet, const char *format,...) pg_attribute_printf(3, 4);

#endif							/* ESE_CALL_H */
