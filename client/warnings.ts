import { isMillraceError } from '../protocol/index.js'

/** Limit of the kinds of problems that one subject warns about, so that new kinds cannot flood the output. */
const kindsMax = 20

/**
 * Warns the operator of a program about problems that the program itself has no handler for. Each kind of problem makes
 * one process warning of the type "MillraceWarning": Node prints it on stderr and emits it to `process.on('warning')`.
 */
export class Warnings {
  readonly #subject: string
  readonly #remedy: string
  readonly #warned = new Set<string>()

  /**
   * @param subject the component with the problem, such as `a worker of queue group "mailer"`
   * @param remedy how the program can receive every problem, not only the first
   */
  constructor(subject: string, remedy: string) {
    this.#subject = subject
    this.#remedy = remedy
  }

  /**
   * Warns unless it has already warned about an error of this kind.
   * @param what the failed action of the subject; part of the kind
   * @param where the place of this error; not part of the kind
   */
  warn(error: unknown, what = '', where = ''): void {
    const kind = `${what}/${kindOf(error)}`
    if (this.#warned.has(kind) || this.#warned.size >= kindsMax) return
    this.#warned.add(kind)
    const detail = error instanceof Error && !isMillraceError(error) ? error.stack : undefined
    process.emitWarning(
      `${this.#subject}${what}${where}: ${textOf(error)}. More problems of this kind are not shown; ${this.#remedy}`,
      { type: 'MillraceWarning', code: 'MILLRACE', ...(detail === undefined ? {} : { detail }) },
    )
  }
}

/**
 * Whether the cause is a missing connection to the broker: the client has an event and a warning for that. A broker that
 * shuts down ends its connections next.
 */
export function isConnectionError(error: unknown): boolean {
  return isMillraceError(error, 'CONNECTION_LOST', 'NOT_CONNECTED', 'DRAINING')
}

/** Turns an error of an application callback into an uncaught exception, so that the caller continues. */
export function undisturbed<Args extends unknown[]>(
  callback: (...args: Args) => void,
): (...args: Args) => void {
  return (...args) => {
    try {
      callback(...args)
    } catch (error) {
      process.nextTick(() => {
        throw error
      })
    }
  }
}

function kindOf(error: unknown): string {
  if (isMillraceError(error)) return error.code
  return error instanceof Error ? error.name : typeof error
}

function textOf(error: unknown): string {
  try {
    return error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  } catch {
    return 'an error without a message'
  }
}
