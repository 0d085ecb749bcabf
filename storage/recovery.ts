import { type Block, type BlockHead, decodeBlock, decodeDamagedHead } from './block.js'
import type { Journal } from './journal.js'
import type { Checkpoint } from './state.js'

/** A block may have 4 MiB. */
const scanBlocks = 16
/** A key further away than this is damaged. */
const positionsMissingMax = 2 ** 32

/** The callbacks of replay, in the order of the journal. */
export interface ReplayTarget {
  block(block: Block): void
  /** A block with a readable head only: its batches are lost. */
  damagedBlock(head: BlockHead): void
  /** Everything up to here has been replayed. */
  reached(last: Checkpoint): void
  /** Reports, for humans, that written data is missing. */
  problem(text: string): void
}

/** The end of the journal, and the blocks after it that belong to an incomplete commit. */
export interface ReplayEnd {
  readonly last: Checkpoint
  readonly torn: readonly number[]
  /** Position of the newest block of unknown content; 0 if there is none. */
  readonly uncertain: number
}

/** A block of the current commit; `block` is absent if its body is damaged. */
interface Read {
  readonly head: BlockHead
  readonly block: Block | undefined
}

/**
 * Reads the blocks after the journal's last known block, and verifies that every block is in its
 * place, is whole, and follows its predecessor. It delivers a commit once it has its last block. It continues
 * after damage: it delivers readable blocks and reports the others.
 */
export async function replay(journal: Journal, target: ReplayTarget): Promise<ReplayEnd> {
  const walk = new Walk(journal.last, target)
  for (;;) {
    const { position: before } = walk.last
    const { blocks, damaged, isEnd } = await journal.scan(before + 1, scanBlocks)
    for (const { position, bytes } of blocks) walk.step(position, bytes)
    if (damaged) walk.damaged()
    // All remaining keys may be keys that no block can have.
    if (isEnd || walk.last.position === before) return walk.end()
  }
}

class Walk {
  /** The newest block, whatever its condition. */
  last: Checkpoint
  readonly #target: ReplayTarget
  /** The newest block with a complete commit. */
  #complete: Checkpoint
  #commit: Read[] = []
  #linkKnown = true
  #uncertain = 0

  constructor(from: Checkpoint, target: ReplayTarget) {
    this.last = from
    this.#complete = from
    this.#target = target
  }

  step(position: number, bytes: Uint8Array): void {
    const next = this.last.position + 1
    if (position > next + positionsMissingMax) {
      this.#target.problem(`the journal contains a block under an impossible key: ${position}`)
      return
    }
    if (position !== next) {
      this.#uncertain = position - 1
      this.#target.problem(`blocks ${next} to ${position - 1} of the journal are missing`)
      this.#linkKnown = false
    }
    const read = this.#read(position, bytes)
    if (read === undefined) {
      this.#linkKnown = false
      this.#uncertain = position
      this.last = { position, link: 0 }
      this.#handOut()
      return
    }
    const { head } = read
    if (this.#linkKnown && head.previousLink !== this.last.link) {
      this.#target.problem(
        `block ${position} of the journal does not match the checksum of the block before it`,
      )
    }
    this.#linkKnown = true
    if (head.indexInCommit === 0) this.#handOut()
    this.#commit.push(read)
    this.last = { position, link: head.link }
    if (head.indexInCommit === head.blocksInCommit - 1) this.#handOut()
  }

  /** The engine could not read all its blocks. */
  damaged(): void {
    this.#target.problem(`the broker can't read the whole journal after block ${this.last.position}`)
    this.#uncertain = this.last.position
    this.#linkKnown = false
  }

  end(): ReplayEnd {
    const torn = this.#commit.map(({ head }) => head.position)
    if (torn.length > 0) {
      this.#target.problem(
        `the last commit of the journal is incomplete: blocks ${torn.join(', ')} were removed`,
      )
    }
    return { last: this.#complete, torn, uncertain: this.#uncertain }
  }

  #handOut(): void {
    for (const { head, block } of this.#commit) {
      if (block === undefined) this.#target.damagedBlock(head)
      else this.#target.block(block)
    }
    this.#commit = []
    this.#complete = this.last
    this.#target.reached(this.last)
  }

  #read(position: number, bytes: Uint8Array): Read | undefined {
    try {
      const block = decodeBlock(bytes, position)
      return { head: block, block }
    } catch (error) {
      this.#target.problem(error instanceof Error ? error.message : String(error))
      const head = decodeDamagedHead(bytes, position)
      return head && { head, block: undefined }
    }
  }
}
