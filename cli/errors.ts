import { isMillraceError } from '../client/index.js'

/**
 * Exit codes: success, failure, wrong usage, interrupted by Ctrl-C before the end (128 and the number of SIGINT, the
 * convention of shells).
 */
export const exitCodes = { ok: 0, failed: 1, usage: 2, interrupted: 130 } as const

export const defaultServer = 'localhost:7420'

/** Messages for error codes of the operating system. */
const fileProblems: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EISDIR: 'it is a folder',
  EACCES: 'this user may not read it',
  EPERM: 'this user may not read it',
}

/** The exit code of an error: wrong usage or failure. The user can correct an invalid option. */
export function exitCodeOf(error: unknown): number {
  return isMillraceError(error, 'BAD_OPTION') ? exitCodes.usage : exitCodes.failed
}

/** The message of an error, for a reader who does not know the program. */
export function errorText(error: unknown, server = process.env.MILLRACE_SERVER ?? defaultServer): string {
  if (isMillraceError(error, 'NOT_CONNECTED')) {
    return `no broker answers at ${server}; start one with "millrace serve", or name another with --server (${error.message.replace(/^no broker answers: /, '')})`
  }
  if (isMillraceError(error)) return error.message
  if (!(error instanceof Error)) return String(error)
  const { code, syscall, path } = error as NodeJS.ErrnoException
  if (code === 'EADDRINUSE') {
    const { port } = error as { port?: number }
    return `port ${port ?? ''} is taken by another process; stop it, or choose another with --port (0 picks a free one)`
  }
  if (code === 'EACCES' && syscall === 'listen')
    return 'this user may not listen on that port; choose one above 1023 with --port'
  const problem = fileProblems[code ?? '']
  if (problem !== undefined) return `can't read ${path === undefined ? 'the file' : `"${path}"`}: ${problem}`
  if (code?.startsWith('Z_') === true) return `the file ends in .gz and can't be unpacked: ${error.message}`
  return error.message
}
