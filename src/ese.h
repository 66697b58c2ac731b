/*-------------------------------------------------------------------------
 *
 * ese.h
 *	  Settings of the extension.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ESE_H
#define ESE_H

extern int	ese_max_instances;
extern int	ese_stream_buffers_kb;

#endif							/* ESE_H */
