/**
 * A worker of a queue group, as a process. It behaves like a real one: some messages fail at first, some always, it
 * rejects
 * some, some handlers hang and some finish after their timeout. The process itself may crash in the middle.
 *
 *     node work_member.js SERVER TOPIC GROUP CRASH_AFTER
 *
 * Lines on stdout, each after the time in ns of the clock that all processes of the machine share: `begun DIGEST
 * ATTEMPT` at the
 * delivery of a message, `handled DIGEST` when its handler has finished,
 * `confirmed DIGEST` and `failed DIGEST` when the broker has confirmed the outcome, `lost` when it has refused
 * the outcome because the lease had ended. CRASH_AFTER: number of messages before the process crashes, 0: never.
 */
import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, connect, isMillraceError, Reject, type WorkMessage } from 'millrace'
import { behaviourOf, crashCode, workSettings, workTimes } from './work_settings.js'

const [server = '', topic = '', group = '', crashAfter = '0'] = process.argv.slice(2)
const client = await connected()
let begun = 0

const worker = client.work(
  topic,
  {
    group,
    concurrency: 50,
    ...workTimes,
    settings: workSettings,
    onSettled: (message, outcome) => {
      if (outcome === 'ack') tell(`confirmed ${digestOf(message)}`)
      if (outcome === 'fail') tell(`failed ${digestOf(message)}`)
    },
    onError: (error) => {
      if (isMillraceError(error, 'LEASE_LOST')) tell('lost')
    },
  },
  async (message) => {
    if (++begun === Number(crashAfter)) process.exit(crashCode)
    const digest = digestOf(message)
    tell(`begun ${digest} ${message.attempt}`)
    await behave(digest, message.attempt)
    tell(`handled ${digest}`)
  },
)
process.once('SIGTERM', () => void worker.close().then(() => client.close()))

function tell(words: string): void {
  console.log(`${process.hrtime.bigint()} ${words}`)
}

/** The broker may be down while the worker starts. */
async function connected(): Promise<Client> {
  for (;;) {
    try {
      return await connect({ servers: server, reconnect: { initialMs: 10, maxMs: 50 } })
    } catch (error) {
      if (!isMillraceError(error, 'NOT_CONNECTED')) throw error
      await sleep(50)
    }
  }
}

async function behave(digest: string, attempt: number): Promise<void> {
  const behaviour = behaviourOf(digest)
  if (behaviour === 'fails') throw new Error('it cannot be indexed')
  if (behaviour === 'rejected') throw new Reject('its licence forbids it')
  if (attempt > 1) return
  if (behaviour === 'busy') throw new Error('the index is busy')
  if (behaviour === 'hangs') await new Promise(() => {})
  if (behaviour === 'late') await sleep(workTimes.timeoutMs * 2)
}

function digestOf({ valueBytes = new Uint8Array(0) }: Pick<WorkMessage, 'valueBytes'>): string {
  return createHash('sha1').update(valueBytes).digest('hex')
}
