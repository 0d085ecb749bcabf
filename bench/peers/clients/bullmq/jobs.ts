import type { JobsOptions, Queue } from 'bullmq'

export interface NewJob {
  readonly name: string
  readonly data: string
  readonly opts?: JobsOptions
}

export const jobName = 'bench'
/** Jobs of one call of `addBulk`. */
export const bulkJobs = 500
/** Calls that are not answered yet at a time. */
const bulksMax = 4

/** Where a queue or a worker connects to; workers must not give up (docs.bullmq.io, "Going to production"). */
export function connectionTo(port: number): {
  readonly host: string
  readonly port: number
  readonly maxRetriesPerRequest: null
} {
  return { host: '127.0.0.1', port, maxRetriesPerRequest: null }
}

/** Adds jobs in bulk until `next` gives none. @param added told how many a call has added, when Redis has answered */
export async function addMany(
  queue: Queue,
  next: () => readonly NewJob[],
  added: (jobs: number) => void,
): Promise<void> {
  const addBulks = async (): Promise<void> => {
    for (let jobs = next(); jobs.length > 0; jobs = next()) {
      await queue.addBulk([...jobs])
      added(jobs.length)
    }
  }
  await Promise.all(Array.from({ length: bulksMax }, addBulks))
}
