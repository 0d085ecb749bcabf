import { errorCodeOf, errorTable, MillraceError } from './errors.js'
import { integer, optional, record, text } from './shape.js'

/** The body of an error reply. */
const errorBody = record({ error: integer(0, 0xffff), message: optional(text(4096)) })

export interface ErrorFields {
  readonly error: number
  readonly message: string
}

/**
 * Encodes an error as fields of a reply. Any error except a MillraceError becomes INTERNAL, and its text stays in the
 * broker.
 */
export function errorFields(error: unknown): ErrorFields {
  if (!(error instanceof MillraceError))
    return { error: errorTable.INTERNAL.number, message: errorTable.INTERNAL.summary }
  return { error: errorTable[error.code].number, message: error.message.slice(0, 1000) }
}

/** Decodes an error from fields of a reply. */
export function errorOf(fields: {
  readonly error: number
  readonly message?: string | undefined
}): MillraceError {
  return new MillraceError(errorCodeOf(fields.error), fields.message)
}

/** Reads the body of an error reply. */
export function readErrorBody(body: unknown): MillraceError {
  return errorOf(errorBody.read(body, ''))
}
