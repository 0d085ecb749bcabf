import type { Command } from 'commander'
import { exitCodes, writeError } from '../errors.js'
import { type CommonOptions, interruptSignal, withClient, withCommon } from '../options.js'
import { formatBytes, printJson } from '../output.js'

const shownEveryMs = 1_000

export function addBackup(program: Command): void {
  withCommon(
    program
      .command('backup')
      .description('store a consistent copy of the data of a running broker, for "millrace restore"')
      .requiredOption('--to <dir>', 'a new or empty folder on this machine'),
  ).action(backup)
  program
    .command('restore')
    .description('create the data folder of a broker from a backup')
    .requiredOption('--from <dir>', 'the folder of the backup')
    .option('-d, --data <dir>', 'the data folder: new or empty')
    .option('--check', 'only verify the backup')
    .option('--json', 'print JSON')
    .action(restore)
}

async function backup({ to, ...options }: CommonOptions & { readonly to: string }): Promise<void> {
  const { makeEmptyFolder, writeBackup } = await import('../../broker/index.js')
  const interrupt = interruptSignal()
  const { signal } = interrupt
  const shown = new BytesShown('stored')
  try {
    // The broker has one backup at a time: do not begin one that can't be stored.
    await makeEmptyFolder(to)
    const manifest = await withClient(
      options,
      async (client) => {
        const { chunks, bytes, ...about } = await client.backup({ signal })
        shown.of(bytes)
        return writeBackup(to, about, chunks(), (done) => shown.update(done))
      },
      signal,
    )
    shown.done()
    const bytes = manifest.files.state.bytes + manifest.files.journal.bytes
    if (options.json) printJson({ dir: to, ...manifest })
    else process.stdout.write(`stored ${formatBytes(bytes)} up to block ${manifest.position} in ${to}\n`)
  } catch (error) {
    shown.done()
    if (!signal.aborted) throw writeError(error, to)
    process.stderr.write('millrace: interrupted; no backup was created\n')
    process.exitCode = exitCodes.interrupted
  } finally {
    interrupt.release()
  }
}

interface RestoreOptions {
  readonly from: string
  readonly data?: string
  readonly check?: true
  readonly json?: true
}

async function restore({ from, data, check, json }: RestoreOptions): Promise<void> {
  const { restoreBackup, verifyBackup } = await import('../../broker/index.js')
  const { MillraceError } = await import('../../client/index.js')
  if (check === undefined && data === undefined)
    throw new MillraceError('BAD_OPTION', 'give the target folder with --data, or verify only with --check')
  if (check || data === undefined) {
    const manifest = await verifyBackup(from)
    if (json) printJson(manifest)
    else process.stdout.write(`the backup in ${from} is complete up to block ${manifest.position}\n`)
    return
  }
  const shown = new BytesShown('restored')
  try {
    const manifest = await restoreBackup(from, data, (bytes) => shown.update(bytes))
    shown.done()
    if (json) printJson({ data, ...manifest })
    else process.stdout.write(`restored ${data} up to block ${manifest.position} of the journal\n`)
  } finally {
    shown.done()
  }
}

/** Progress in bytes on a terminal. */
class BytesShown {
  readonly #label: string
  readonly #isShown = process.stderr.isTTY === true
  #shownMs = Number.NEGATIVE_INFINITY
  #total: number | undefined
  #isLineOpen = false

  constructor(label: string) {
    this.#label = label
  }

  /** About how many there will be. */
  of(bytes: number): void {
    this.#total = bytes
  }

  update(bytes: number): void {
    const nowMs = performance.now()
    if (!this.#isShown || nowMs - this.#shownMs < shownEveryMs) return
    this.#shownMs = nowMs
    this.#isLineOpen = true
    const total = this.#total === undefined ? '' : ` of about ${formatBytes(this.#total)}`
    process.stderr.write(`\r\u001b[K${this.#label} ${formatBytes(bytes)}${total}`)
  }

  done(): void {
    if (this.#isLineOpen) process.stderr.write('\r\u001b[K')
    this.#isLineOpen = false
  }
}
