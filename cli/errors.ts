import { dirname } from 'node:path'
import { isMillraceError } from '../client/index.js'

/**
 * Exit codes: success, failure, wrong usage, interrupted by Ctrl-C before the end (128 and the number of SIGINT, the
 * convention of shells), ended because the reader of the output did (likewise, with SIGPIPE).
 */
export const exitCodes = { ok: 0, failed: 1, usage: 2, interrupted: 130, outputClosed: 141 } as const

export const defaultServer = 'localhost:7420'

/** Messages for error codes of the operating system. */
const fileProblems: Readonly<Record<string, string>> = {
  ENOENT: 'it does not exist',
  ENOTDIR: 'a part of its path is not a folder',
  EISDIR: 'it is a folder',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
}

/** An error of writing a file: the same error, or one whose message says what keeps the file from being written. */
export function writeError(error: unknown, path: string): unknown {
  const { code } = error as NodeJS.ErrnoException
  const folder = JSON.stringify(dirname(path))
  const problems: Readonly<Record<string, string>> = {
    ENOENT: `there is no folder ${folder}`,
    ENOTDIR: `${folder} is not a folder`,
    EISDIR: 'it is a folder',
    EACCES: `permission denied in the folder ${folder}`,
    EPERM: `permission denied in the folder ${folder}`,
    EROFS: `the folder ${folder} is read-only`,
    ENOSPC: 'the disk is full',
    EDQUOT: 'the quota of this user is used up',
    ENAMETOOLONG: 'its name is too long',
  }
  const problem = isMillraceError(error) ? undefined : problems[code ?? '']
  if (problem === undefined) return error
  return new Error(`can't write "${path}": ${problem}`, { cause: error })
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
    return `port ${port ?? ''} is in use by another process; stop that process, or choose another port with --port (0 chooses a free port)`
  }
  if (code === 'EACCES' && syscall === 'listen')
    return 'permission denied to listen on that port; choose a port above 1023 with --port'
  const problem = fileProblems[code ?? '']
  if (problem !== undefined) return `can't read ${path === undefined ? 'the file' : `"${path}"`}: ${problem}`
  if (code?.startsWith('Z_') === true)
    return `can't decompress the file, whose name ends in .gz: ${error.message}`
  return error.message
}
