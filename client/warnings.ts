import { isMillraceError } from '../protocol/index.js'

/** Kinds of problems that one subject warns about, at most: a flood of new kinds ends as well. */
const kindsMax = 20

/**
 * Tells the operator of a program about problems that the program itself has no handler for. Each kind of problem is one
 * process warning of the type "MillraceWarning": Node prints it on stderr, and `process.on('warning')` gets it.
 */
export class Warnings {
  readonly #subject: string
  readonly #remedy: string
  readonly #warned = new Set<string>()

  /**
   * @param subject what has the problem: `a worker of queue group "mailer"`
   * @param remedy how the program gets to know every problem instead of the first one
   */
  constructor(subject: string, remedy: string) {
    this.#subject = subject
    this.#remedy = remedy
  }

  /**
   * Warns unless it has warned about an error of this kind before.
   * @param what what the subject did, a part of the kind
   * @param where one case of it, not a part of the kind
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

/** Whether there is no connection to the broker, about which the client itself has an event and a warning. */
export function isConnectionError(error: unknown): boolean {
  return isMillraceError(error, 'CONNECTION_LOST', 'NOT_CONNECTED')
}

/** What a callback of the application throws is an uncaught exception, and ends nothing of what called it. */
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
    return 'an error that has no text'
  }
}
