import { type ErrorFields, errorFields, MillraceError } from '../../protocol/index.js'
import type { Logger } from '../log.js'

/**
 * Entries of one reply that get a message in addition to their number: thousands of messages would not fit into a
 * frame.
 */
const messagesMax = 100

/** Turns the errors of single entries of a request into fields of the reply; logs unexpected errors. */
export class EntryErrors {
  readonly #logger: Logger
  #count = 0

  constructor(logger: Logger) {
    this.#logger = logger
  }

  fields(error: unknown): Pick<ErrorFields, 'error'> & Partial<ErrorFields> {
    if (!(error instanceof MillraceError)) this.#logger.error({ err: error }, 'a request failed unexpectedly')
    const fields = errorFields(error)
    return ++this.#count <= messagesMax ? fields : { error: fields.error }
  }
}
