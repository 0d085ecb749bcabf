import { isMillraceError } from '../client/index.js'

/** What went wrong, in words that help somebody who has never seen the program. */
export function errorText(error: unknown, server = process.env.MILLRACE_SERVER ?? defaultServer): string {
  if (isMillraceError(error, 'NOT_CONNECTED')) {
    return `no broker answers at ${server}; start one with "millrace serve", or name another with --server (${error.message})`
  }
  if (isMillraceError(error)) return error.message
  if (!(error instanceof Error)) return String(error)
  const { code, syscall } = error as NodeJS.ErrnoException
  if (code === 'EADDRINUSE') {
    const { port } = error as { port?: number }
    return `port ${port ?? ''} is taken by another process; stop it, or choose another with --port (0 picks a free one)`
  }
  if (code === 'EACCES' && syscall === 'listen')
    return `this user may not listen on that port; choose one above 1023 with --port`
  return error.message
}

export const defaultServer = 'localhost:7420'
