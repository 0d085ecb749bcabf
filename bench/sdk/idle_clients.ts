import { pathToFileURL } from 'node:url'
import type * as Sdk from '../../client/index.js'
import { serveWorker, type WorkerTask } from '../lib/worker.js'

export interface SdkIdleOptions {
  readonly port: number
  readonly kind: 'consumers' | 'workers'
  /** One member for each: it reads the topic, in a group of the topic. */
  readonly topics: readonly string[]
  /** Folder of the build whose SDK is used; default: this build. */
  readonly build?: string
}

/** One client with consumers in stream groups, or workers of queue groups, for which nothing comes. */
async function start({ port, kind, topics, build }: SdkIdleOptions): Promise<WorkerTask> {
  const { connect } = await sdkOf(build)
  const client = await connect({ servers: `127.0.0.1:${port}`, requestTimeoutMs: 120_000 })
  const started: Promise<void>[] = []
  for (const topic of topics) {
    const group = `${kind}-${topic}`
    if (kind === 'workers') started.push(client.work(topic, { group }, () => {}).ready)
    else {
      const consumer = client.consume(topic, { group })
      started.push(consumer.start())
      void (async () => {
        for await (const message of consumer) message.ack()
      })()
    }
  }
  await Promise.all(started)
  return { count: () => ({ messages: 0, bytes: 0 }), stop: () => client.close() }
}

function sdkOf(build: string | undefined): Promise<typeof Sdk> {
  const url =
    build === undefined ? '../../client/index.js' : pathToFileURL(`${build}/dist/client/index.js`).href
  return import(url)
}

await serveWorker(start)
