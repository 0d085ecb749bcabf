/**
 * A worker of a queue group, as a process. It works like real ones do: some messages fail at first, some always, some are
 * rejected, some handlers hang and some answer when their time is over; and the process itself may crash in the middle.
 *
 *     node work_member.js SERVER TOPIC GROUP CRASH_AFTER
 *
 * Lines on stdout: `begun DIGEST ATTEMPT` when a message was delivered, `handled DIGEST ATTEMPT` when a handler has come to its end, `confirmed DIGEST` when the broker has
 * confirmed the acknowledgement. CRASH_AFTER: messages after which the process ends without a word, 0: never.
 */
import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect, Reject, type WorkMessage } from 'millrace'
import { workSettings, workTimes } from './work_settings.js'

const [server = '', topic = '', group = '', crashAfter = '0'] = process.argv.slice(2)
const client = await connect(server)
let begun = 0

const worker = client.work(
  topic,
  {
    group,
    concurrency: 50,
    ...workTimes,
    settings: workSettings,
    onSettled: (message, outcome) => {
      if (outcome === 'ack') console.log(`confirmed ${digestOf(message)}`)
    },
  },
  async (message) => {
    if (++begun === Number(crashAfter)) process.exit(1)
    const digest = digestOf(message)
    console.log(`begun ${digest} ${message.attempt}`)
    await behave(Number.parseInt(digest.slice(0, 8), 16), message.attempt)
    console.log(`handled ${digest} ${message.attempt}`)
  },
)
process.once('SIGTERM', () => void worker.close().then(() => client.close()))

/** What happens with a message is decided by its content, so that each run is alike. */
async function behave(number: number, attempt: number): Promise<void> {
  if (number % 300 === 1) throw new Error('it can not be indexed')
  if (number % 500 === 2) throw new Reject('its licence forbids it')
  if (attempt > 1) return
  if (number % 20 === 3) throw new Error('the index is busy')
  if (number % 400 === 4) await new Promise(() => {})
  if (number % 400 === 5) await sleep(workTimes.timeoutMs * 2)
}

function digestOf({ valueBytes = new Uint8Array(0) }: Pick<WorkMessage, 'valueBytes'>): string {
  return createHash('sha1').update(valueBytes).digest('hex')
}
