import type { Client } from '../client/index.js'
import { exitCodes } from './errors.js'
import { interruptSignal } from './options.js'

/**
 * Handles Ctrl-C in a command that publishes its input. The first one ends the input: the command publishes the lines
 * that it has read, unless the broker is unreachable. The second one gives up, and the third one ends the process.
 */
export class PublishInterrupt {
  readonly #giveUp = new AbortController()
  readonly #interrupt = interruptSignal(() => {
    if (this.#giveUp.signal.aborted) process.exit(exitCodes.interrupted)
    this.#giveUp.abort()
  })

  /** Ends the input. */
  get stop(): AbortSignal {
    return this.#interrupt.signal
  }

  /** Ends the wait for the broker. */
  get giveUp(): AbortSignal {
    return this.#giveUp.signal
  }

  /** Gives up if the input has ended and the client has no connection. Returns a function that ends the watch. */
  watch(client: Client): () => void {
    const stopped = (): void => {
      if (!client.isConnected) {
        this.#giveUp.abort()
        return
      }
      process.stderr.write(
        'millrace: interrupted; publishing the lines that were read, press Ctrl-C again to stop now\n',
      )
      client.on('disconnected', () => this.#giveUp.abort())
    }
    this.stop.addEventListener('abort', stopped, { once: true })
    return () => this.stop.removeEventListener('abort', stopped)
  }

  release(): void {
    this.#interrupt.release()
  }
}

/** Ends when the signal is aborted, even while the input is silent; then it closes stdin. */
export async function* untilAborted<T>(input: AsyncGenerator<T>, signal: AbortSignal): AsyncGenerator<T> {
  const aborted = new Promise<IteratorResult<T>>((resolve) => {
    signal.addEventListener('abort', () => resolve({ done: true, value: undefined }), { once: true })
  })
  while (!signal.aborted) {
    const next = await Promise.race([input.next(), aborted])
    if (next.done) break
    yield next.value
  }
  if (signal.aborted) process.stdin.destroy()
}
