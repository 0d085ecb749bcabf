import type { Shape } from '../shape.js'

/**
 * A command as a value: its number on the wire (never reused), its name, the first protocol version that has it, and
 * the shapes of its request and reply bodies.
 */
export interface Command<Request, Reply> {
  readonly number: number
  readonly name: string
  readonly since: number
  readonly request: Shape<Request>
  readonly reply: Shape<Reply>
}

/** Declares a command, so that TypeScript infers both type parameters. */
export function command<Request, Reply>(definition: Command<Request, Reply>): Command<Request, Reply> {
  return definition
}

/** The body of a request to `C`. */
export type RequestOf<C> = C extends Command<infer Request, unknown> ? Request : never
/** The body of a reply of `C`. */
export type ReplyOf<C> = C extends Command<unknown, infer Reply> ? Reply : never
