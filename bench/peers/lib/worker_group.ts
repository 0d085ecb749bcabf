import { Worker } from '../../lib/worker.js'

/** Workers that end together. */
export interface WorkerGroup {
  start(name: string, script: URL, options: object): Promise<Worker>
  /** Stops one early, after those that were started later; resolves to its result. */
  stop(worker: Worker): Promise<unknown>
}

/** Gives means to start workers; all are stopped at the end, the last started first, or killed when something fails. */
export async function withWorkers<T>(use: (group: WorkerGroup) => Promise<T>): Promise<T> {
  const workers: Worker[] = []
  const group: WorkerGroup = {
    start: async (name, script, options) => {
      const worker = await Worker.start(name, script, options)
      workers.unshift(worker)
      return worker
    },
    stop: async (worker) => {
      // The publisher first: a consumer may remove the topic.
      for (const other of workers.splice(0, workers.indexOf(worker))) await other.stop()
      workers.shift()
      return worker.stop()
    },
  }
  try {
    const result = await use(group)
    for (const worker of workers.splice(0)) await worker.stop()
    return result
  } finally {
    await Promise.all(workers.map((worker) => worker.kill()))
  }
}
