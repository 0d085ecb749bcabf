import { testShortCampaign } from '../short_campaign.js'
import { limits } from './limits.js'

testShortCampaign(limits)
