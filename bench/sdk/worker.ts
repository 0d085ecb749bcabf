import { connect, type QueueOptions } from '../../client/index.js'
import { serveWorker, type WorkerTask } from '../lib/worker.js'

export interface SdkWorkerOptions {
  readonly port: number
  readonly topic: string
  readonly concurrency: number
  /** Default: none. */
  readonly order?: NonNullable<QueueOptions['order']>
  /** The message at the head of the first partition always fails. Default: false. */
  readonly isPoisoned?: boolean
}

/** Leased messages for each handler, so that handlers do not wait for the next lease. */
const prefetchFactor = 4
/** More attempts than fit into a bench. */
const attemptsMax = 1_000_000

/** A worker of a queue group with an empty asynchronous handler; counts confirmed acknowledgements. */
async function start(options: SdkWorkerOptions): Promise<WorkerTask> {
  const { port, topic, concurrency, order = 'none', isPoisoned = false } = options
  const client = await connect(`127.0.0.1:${port}`)
  let messages = 0
  let bytes = 0
  let failure: unknown
  const worker = client.work(
    topic,
    {
      group: 'bench',
      concurrency,
      prefetch: concurrency * prefetchFactor,
      settings: { order, attemptsMax, retry: { kind: 'fixed', delay: 100 } },
      onSettled: ({ valueBytes }, outcome) => {
        if (outcome !== 'ack') return
        messages++
        bytes += valueBytes?.length ?? 0
      },
      onFailed: () => {},
      onError: (error) => {
        failure = error
      },
    },
    async ({ partition, offset }) => {
      if (isPoisoned && partition === 0 && offset === 0) throw new Error('the poisoned message')
    },
  )
  await worker.ready
  return {
    count: () => ({ messages, bytes }),
    stop: async () => {
      await client.close()
      if (failure !== undefined) throw failure
      return {}
    },
  }
}

await serveWorker(start)
