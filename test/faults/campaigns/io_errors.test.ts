import { testShortCampaign } from '../short_campaign.js'
import { ioErrors } from './io_errors.js'

testShortCampaign(ioErrors)
