import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { TestContext } from '../../helpers/context.js'

/** The calls of a load process, by name. Arguments and results travel by structured clone. */
export type Calls = Readonly<Record<string, (argument: never) => unknown>>

type ArgumentOf<C> = C extends () => unknown
  ? undefined
  : C extends (argument: infer A) => unknown
    ? A
    : never
type ResultOf<C> = C extends (argument: never) => infer R ? Awaited<R> : never

interface Question {
  readonly id: number
  readonly name: string
  readonly argument: unknown
}

type Answer =
  | { readonly id: number; readonly value: unknown; readonly error?: undefined }
  | { readonly id: number; readonly error: string }

interface Waiting {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: Error) => void
}

/**
 * A process that puts load on a broker, so that its work does not disturb measurements elsewhere. The round
 * kills it at its end.
 */
export class LoadProcess<C extends Calls> {
  readonly #child: ChildProcess
  readonly #name: string
  readonly #waiting = new Map<number, Waiting>()
  readonly #exited: Promise<void>
  #failure: Error | undefined
  #lastId = 0

  private constructor(name: string, child: ChildProcess) {
    this.#name = name
    this.#child = child
    child.on('message', (answer: Answer) => this.#receive(answer))
    this.#exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        this.#fail(new Error(`the process ${name} ended with ${signal ?? `exit code ${code}`}`))
        resolve()
      })
    })
    child.once('error', (error) => this.#fail(error))
  }

  /** @param script a module that calls `serveCalls` */
  static start<C extends Calls>(context: TestContext, name: string, script: URL): LoadProcess<C> {
    const child = fork(fileURLToPath(script), { serialization: 'advanced' })
    const started = new LoadProcess<C>(name, child)
    context.defer(() => started.kill())
    return started
  }

  get pid(): number {
    return this.#child.pid ?? -1
  }

  /** @throws Error from the call, or about the end of the process */
  call<Name extends keyof C & string>(
    name: Name,
    ...[argument]: undefined extends ArgumentOf<C[Name]> ? [] : [ArgumentOf<C[Name]>]
  ): Promise<ResultOf<C[Name]>> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    const id = ++this.#lastId
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (value: unknown) => void, reject })
      const question: Question = { id, name, argument }
      this.#child.send(question, (error) => error !== null && this.#fail(error))
    })
  }

  /** Ends the process as a crash would. */
  kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    return this.#exited
  }

  #receive(answer: Answer): void {
    const waiting = this.#waiting.get(answer.id)
    this.#waiting.delete(answer.id)
    if (answer.error === undefined) waiting?.resolve(answer.value)
    else waiting?.reject(new Error(`${this.#name}: ${answer.error}`))
  }

  #fail(error: Error): void {
    this.#failure ??= error
    for (const { reject } of this.#waiting.values()) reject(this.#failure)
    this.#waiting.clear()
  }
}

/** Answers the calls of the parent process, until that is gone. */
export function serveCalls(calls: Calls): void {
  process.once('disconnect', () => process.exit())
  process.on('message', ({ id, name, argument }: Question) => {
    void answer(calls, name, argument).then(
      (value) => process.send?.({ id, value } satisfies Answer),
      (error: unknown) => process.send?.({ id, error: textOf(error) } satisfies Answer),
    )
  })
}

async function answer(calls: Calls, name: string, argument: unknown): Promise<unknown> {
  const call = calls[name]
  if (call === undefined) throw new Error(`there is no call "${name}"`)
  return await call(argument as never)
}

function textOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}
