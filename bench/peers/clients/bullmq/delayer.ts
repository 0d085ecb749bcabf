import { Queue, Worker } from 'bullmq'
import { type PeerDelayer, serveDelayer } from '../../lib/delayer.js'
import { addMany, bulkJobs, connectionTo, jobName, type NewJob } from './jobs.js'

const concurrency = 1_000

await serveDelayer(async ({ port, topic, messageBytes, removesTopic }): Promise<PeerDelayer> => {
  const connection = connectionTo(port)
  const queue = new Queue(topic, { connection })
  await queue.waitUntilReady()
  const data = 'x'.repeat(messageBytes)
  /** A job is due so many milliseconds after its timestamp. */
  const delayed = (dueMs: number): NewJob => {
    const timestamp = Date.now()
    return { name: jobName, data, opts: { timestamp, delay: Math.max(0, dueMs - timestamp) } }
  }
  let worker: Worker<string> | undefined
  return {
    arm: async (messages, dueMs) => {
      let armed = 0
      const next = (): NewJob[] => {
        const from = armed
        armed = Math.min(from + bulkJobs, messages)
        return Array.from({ length: armed - from }, (_, i) => delayed(dueMs(from + i)))
      }
      await addMany(queue, next, () => {})
    },
    receive: async (received) => {
      const options = { connection, concurrency, removeOnComplete: { count: 0 } }
      worker = new Worker<string>(
        topic,
        async ({ timestamp, opts }) => received(timestamp + (opts.delay ?? 0)),
        options,
      )
      worker.on('error', (error) => {
        throw error
      })
      await worker.waitUntilReady()
    },
    close: async () => {
      await worker?.close()
      if (removesTopic) await queue.obliterate({ force: true })
      await queue.close()
    },
  }
})
